import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hw.simulated.speed_table import read_speed_table
from user_lib.contract.errors import SourceError

Write = Callable[[str, str | bytes], Path]


@pytest.mark.parametrize("cycle", ["wltc_3b.csv", "udds.csv", "hwfet.csv"])
def test_published_cycles_have_their_distance(data: Path, cycle: str) -> None:
    told = json.loads((data / "expected/cycles_summary.json").read_text())[cycle]
    table = read_speed_table(data / "cycles" / cycle)

    assert table.duration_s == told["duration_s"]
    distance = np.trapezoid(table.speed_m_s, table.time_s)
    assert distance == pytest.approx(told["distance_m"], rel=1e-12)
    assert table.speed_m_s.max() == told["max_mps"]


def test_recorded_days_are_driven_with_a_stop_between_trips(data: Path) -> None:
    told = json.loads((data / "expected/fleet_summary.json").read_text())
    for name, day in told.items():
        table = read_speed_table(data / "fleet" / name)
        assert table.speed_m_s.max() == pytest.approx(day["max_mph"] * 0.44704)
        assert np.diff(table.time_s).max() <= 60


@pytest.mark.parametrize(
    ("header", "factor"),
    [
        ("time_s,speed_mps", 1.0),
        ("t,speed_m/s", 1.0),
        ("Time [s],Speed [km/h]", 1 / 3.6),
        ("seconds,kph", 1 / 3.6),
        ("sec,v_mph,accel_mps", 0.44704),
    ],
)
def test_units_follow_from_the_header(write: Write, header: str, factor: float) -> None:
    table = read_speed_table(write("t.csv", f"\ufeff{header}\n0,0,0\n2,36,0\n\n"))

    assert table.speeds(np.array([0.0, 1.0, 2.0, 9.0])) == pytest.approx(
        [0, 18 * factor, 36 * factor, 0]
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n0,0\n1,1\n", "header"),
        ("", "header"),
        ("t,mph\n0,0\n", "two rows"),
        ("t,mph\n0,0\n1,x\n", "line 3"),
        ("t,mph\n0,0\n1\n", "line 3"),
        ("t,mph\n0,0\n0,1\n", "same time"),
        ("t,mph\n0,0\n1,nan\n", "finite"),
    ],
)
def test_a_table_that_cannot_be_driven_is_refused(write: Write, text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        read_speed_table(write("t.csv", text))


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.csv"):
        read_speed_table(tmp_path / "none.csv")
