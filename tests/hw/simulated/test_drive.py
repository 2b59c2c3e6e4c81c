import numpy as np
import pytest

from hw.simulated.drive import CHUNK_STEPS, STEPPED, Drive
from hw.simulated.itinerary import STEP_S, Itinerary, TableProfile
from hw.simulated.speed_table import SpeedTable


def driven(seed: int, chunks: int = 120) -> dict[str, np.ndarray]:
    """Drive for a while; every quantity on the grid, chunks end to end."""
    drive = Drive(Itinerary(seed), seed)
    parts = [drive.chunk() for _ in range(chunks)]
    return {
        name: np.concatenate([part.on_grid[name][:-1] for part in parts])
        for name in parts[0].on_grid
    }


@pytest.fixture(scope="module")
def drive() -> dict[str, np.ndarray]:
    return driven(7)


def test_a_seed_repeats_exactly_and_another_differs(drive: dict[str, np.ndarray]) -> None:
    again, other = driven(7), driven(8)

    for name, values in drive.items():
        assert (again[name] == values).all(), name
    assert (other["speed_m_s"] != drive["speed_m_s"]).any()


@pytest.mark.parametrize("seed", range(5))
def test_speeds_and_accelerations_stay_within_what_a_car_can_do(seed: int) -> None:
    m = driven(seed)

    assert m["speed_m_s"].min() == 0
    assert 25 < m["speed_m_s"].max() < 45
    assert m["acceleration_m_s2"].min() > -8
    assert m["acceleration_m_s2"].max() < 3
    assert abs(m["lateral_m_s2"]).max() < 4


@pytest.mark.parametrize("seed", range(5))
def test_a_drive_has_stops_town_country_and_motorway(seed: int) -> None:
    kmh = driven(seed, chunks=240)["speed_m_s"] * 3.6

    assert np.mean(kmh == 0) > 0.01
    for slowest, fastest in ((25, 60), (65, 100), (105, 140)):
        share = np.mean((kmh > slowest) & (kmh < fastest))
        assert share > 0.05, (slowest, fastest)


def test_speed_is_the_change_of_the_odometer_and_of_the_position(
    drive: dict[str, np.ndarray],
) -> None:
    metres = np.diff(drive["odometer_km"]) * 1000
    assert metres == pytest.approx(drive["speed_m_s"][:-1] * STEP_S, abs=1e-6)

    north = np.diff(drive["latitude_deg"]) * 111_320
    east = np.diff(drive["longitude_deg"]) * 111_320
    east *= np.cos(np.radians(drive["latitude_deg"][:-1]))
    moved = np.hypot(north, east)
    moving = drive["speed_m_s"][:-1] > 5
    assert np.median(moved[moving] / metres[moving]) == pytest.approx(1, abs=0.001)


def test_engine_gear_and_speed_belong_together(drive: dict[str, np.ndarray]) -> None:
    fast, standing = drive["speed_m_s"] > 30, drive["speed_m_s"] < 0.2

    assert set(np.unique(drive["gear"])) <= set(range(7))
    assert (drive["gear"][fast] == 6).all()
    assert (drive["gear"][standing] == 0).all()
    running = drive["running"] > 0
    assert drive["engine_rpm"][running].min() >= 800
    assert drive["engine_rpm"].max() < 5000
    # Under way in one gear the engine turns in proportion to the wheels.
    under_way = (drive["gear"] == 6) & (drive["slip_rpm"] == 0)
    ratio = drive["engine_rpm"][under_way] / drive["speed_m_s"][under_way]
    assert np.ptp(ratio) < 1e-9 * ratio.max()


def test_nobody_brakes_and_accelerates_at_once(drive: dict[str, np.ndarray]) -> None:
    moving = drive["speed_m_s"] > 0.1
    both = (drive["brake_bar"] > 1) & (drive["pedal_percent"] > 1) & moving

    assert not both.any()
    hard = drive["acceleration_m_s2"] < -2.5
    assert hard.any()
    assert (drive["brake_bar"][hard & moving] > 5).all()
    for name in ("brake_percent", "pedal_percent"):
        assert 0 <= drive[name].min() <= drive[name].max() <= 100


def test_the_engine_warms_up_and_stays_warm(drive: dict[str, np.ndarray]) -> None:
    coolant = drive["coolant_c"]

    assert coolant[0] == pytest.approx(drive["ambient_c"][0], abs=2)
    assert 80 < coolant[-1] < 105
    assert coolant.max() < 110
    assert drive["oil_c"][3000] < coolant[3000]
    assert drive["fuel_percent"][-1] < drive["fuel_percent"][0]


def test_no_quantity_jumps_between_chunks() -> None:
    drive = Drive(Itinerary(3), 3)
    before = drive.chunk()
    for _ in range(30):
        after = drive.chunk()
        for name, values in after.on_grid.items():
            assert values[0] == pytest.approx(before.on_grid[name][-1], abs=1e-6), name
        before = after


def test_quantities_are_read_between_steps_by_line_or_by_step() -> None:
    chunk = Drive(TableProfile(SpeedTable(np.array([0.0, 10.0]), np.array([0.0, 20.0]))), 1).chunk()
    at_s = np.array([0.0, 0.05, 5.025, 9.999])

    assert chunk.at("speed_m_s", at_s) == pytest.approx(at_s * 2)
    for name in STEPPED:
        grid = set(chunk.on_grid[name].tolist())
        assert set(chunk.at(name, at_s).tolist()) <= grid


def test_a_table_is_driven_as_it_says() -> None:
    table = SpeedTable(np.array([0.0, 5.0, 30.0]), np.array([0.0, 10.0, 10.0]))
    chunk = Drive(TableProfile(table), 1).chunk()

    assert len(chunk.time_s) == CHUNK_STEPS + 1
    assert chunk.on_grid["speed_m_s"] == pytest.approx(np.minimum(chunk.time_s * 2, 10))
    assert chunk.on_grid["acceleration_m_s2"][:49] == pytest.approx(2)
