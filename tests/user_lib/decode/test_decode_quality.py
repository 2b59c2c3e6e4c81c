"""Names of values in the outputs, and what the summary says of a log's messages."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hw import model_databases, model_mapping, simulate, write_candump
from user_lib.cli import main
from user_lib.contract.errors import ConfigError
from user_lib.contract.frames import FrameBatch
from user_lib.decode.log import decode_log

ENGINE = 256


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A drive of the compact car with three frames lost, one repeated and two spoilt."""
    batch = FrameBatch.concatenate(list(simulate("compact", 3, 20.0)))
    rows = np.flatnonzero(batch.can_id == ENGINE)
    batch.data[rows[500]] = batch.data[rows[499]]
    batch.data[rows[[600, 700]], 0] ^= 0x40
    batch = batch.take(~np.isin(np.arange(len(batch)), rows[[300, 301, 302]]))
    log = tmp_path / "drive.log"
    write_candump(log, [batch], ["can0", "can1"])
    return log


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_the_summary_counts_gaps_counters_and_checksums(drive: Path, tmp_path: Path) -> None:
    summary = decode_log(drive, model_databases("compact"), out=tmp_path / "out.npz")

    of = {series.message: series for series in summary.messages}
    assert of["EngineData"].longest_gap_ns == pytest.approx(40e6, abs=0.2e6)
    assert of["EngineData"].counter_errors == 3  # one after the gap, two around the repeated frame
    assert of["EngineData"].checksum_errors == 2
    assert of["VehicleMotion"].longest_gap_ns == pytest.approx(20e6, abs=0.2e6)
    assert of["VehicleMotion"].counter_errors is of["VehicleMotion"].checksum_errors is None
    assert of["BodyStatus"].counter_errors == 0
    assert of["BodyStatus"].checksum_errors is None


def test_the_command_says_which_messages_were_damaged(
    drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    databases = [f"--dbc={ref.channel}={ref.path}" for ref in model_databases("compact")]

    code = main(["decode", str(drive), *databases, "-o", str(tmp_path / "out.npz")])

    said = capsys.readouterr().out
    assert code == 0
    assert (
        "can0 EngineData: the counter did not count on by one 3 times, the checksum was wrong 2"
    ) in said
    assert "gap ms" in said


def test_a_csv_names_values_beside_their_numbers(drive: Path, tmp_path: Path) -> None:
    plain, named = tmp_path / "plain.csv", tmp_path / "named.csv"
    mapping = model_mapping("compact")
    decode_log(drive, model_databases("compact"), out=plain, mapping=mapping)
    decode_log(drive, model_databases("compact"), out=named, mapping=mapping, names=True)

    without = rows_of(plain)
    rows = rows_of(named)
    assert [{k: v for k, v in row.items() if k != "name"} for row in rows] == without
    gears = {(row["value"], row["name"]) for row in rows if row["signal"] == "SelectorPosition"}
    assert gears
    assert all(name for _, name in gears)
    assert {row["name"] for row in rows if row["signal"] == "VehicleSpeed"} == {""}


def test_parquet_names_the_same_values(drive: Path, tmp_path: Path) -> None:
    for out in ("named.csv", "named.parquet"):
        decode_log(drive, model_databases("compact"), out=tmp_path / out, names=True)

    table = pq.read_table(tmp_path / "named.parquet")

    assert table.column_names[-1] == "name"
    assert table["name"].to_pylist() == [row["name"] for row in rows_of(tmp_path / "named.csv")]


def test_names_have_no_room_in_npz(drive: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"use \.csv or \.parquet"):
        decode_log(drive, model_databases("compact"), out=tmp_path / "out.npz", names=True)
    assert not list(tmp_path.glob("*.npz*"))
