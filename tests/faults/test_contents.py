"""Ten megabytes half-way through a tunnel, and both ends killed: the rest is what is sent then."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.byte_link import ByteLink
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle, simulated

pytestmark = pytest.mark.timeout(180)

SIZE = 10_000_000
OVERHEAD = 1_500_000
"""Handshakes, heartbeats, the results themselves, and chunks that were under way at the cut."""
LARGE = {
    "signals": ["Vehicle.Speed"],
    "window": {"samples": 10},
    "onboard": "custom",
    "limits": {"cpu_s": 20, "memory_mb": 900, "wall_s": 60},
    "deadline_s": 120,
}
RETURN_LARGE = f"def custom(data, params):\n    return str(params.iteration) * {SIZE}\n"
TAKE_LARGE = "def custom(data, params):\n    return len(params['text'])\n"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalFleet]:
    with LocalFleet(tmp_path, [], cloud_config={"lease_s": 3.0}) as local:
        local.start_cloud()
        yield local


@pytest.fixture
def link(local: LocalFleet) -> Iterator[ByteLink]:
    """A vehicle whose every byte goes through this."""
    link = ByteLink(local.endpoint, seed=1)
    car = simulated("compact-1", "compact", seed=21, speed=8.0)
    local.vehicles["compact-1"] = LocalVehicle(
        car.vehicle_id, car.profile, car.sources, {"cloud": link.endpoint}
    )
    local.start_agent("compact-1")
    yield link
    link.close()


@pytest.fixture
def fleet(local: LocalFleet, link: ByteLink) -> Iterator[Any]:
    with local.connect("tester") as fleet:
        local.wait_online(fleet)
        yield fleet


def eventually(happened: Callable[[], object], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def on_disk(path: Path) -> int:
    """Return how much of the largest content a file holds."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT max(have) FROM contents").fetchone()
    return int(found[0] or 0)


def wait_for_bytes(link: ByteLink, count: int) -> None:
    eventually(lambda: link.counts["relayed"] > count, lambda: link.counts)


def kill_and_start(local: LocalFleet, link: ByteLink) -> None:
    """Cut the power of both ends, and let both begin again outside the tunnel."""
    local.kill("compact-1")
    local.kill("cloud")
    link.counts.clear()
    link.calm()
    local.start_cloud()
    local.start_agent("compact-1")


def test_a_large_result_goes_on_at_the_chunk_where_it_was(
    local: LocalFleet, link: ByteLink, fleet: Any, tmp_path: Path
) -> None:
    fleet.update_code(RETURN_LARGE)
    link.closes_after = SIZE // 2
    job = fleet.assign(LARGE)
    eventually(lambda: link.closed, job.explain)
    assert " of 10.0 MB" in job.explain()
    arrived = on_disk(tmp_path / "ledger.sqlite")
    assert 0 < arrived < SIZE

    kill_and_start(local, link)
    job.wait(timeout_s=90)

    (result,) = job.results()
    assert result.value == "1" * SIZE
    assert not result.receipt.late
    assert link.counts["relayed"] < SIZE - arrived + OVERHEAD
    assert [r.vehicles for r in job.closed_rounds()] == [("compact-1",)]
    assert job.verify().ok, job.verify()


def test_large_params_go_on_at_the_chunk_where_they_were(
    local: LocalFleet, link: ByteLink, fleet: Any, tmp_path: Path
) -> None:
    fleet.update_code(TAKE_LARGE)
    link.closes_after = SIZE // 2
    job = fleet.assign(LARGE, onboard_params={"text": "y" * SIZE})
    eventually(lambda: link.closed, job.explain)
    state = tmp_path / "compact-1.state" / "state.db"
    arrived = on_disk(state)
    assert 0 < arrived < SIZE

    kill_and_start(local, link)
    job.wait(timeout_s=90)

    (result,) = job.results()
    assert result.value == SIZE
    assert link.counts["relayed"] < SIZE - arrived + OVERHEAD


def test_a_cloud_killed_many_times_gets_each_large_result_once(
    local: LocalFleet, link: ByteLink, fleet: Any
) -> None:
    fleet.update_code(RETURN_LARGE)
    job = fleet.assign(LARGE, iterations=3)
    for _ in range(3):
        wait_for_bytes(link, link.counts["relayed"] + SIZE // 3)
        local.kill("cloud")
        local.start_cloud()

    job.wait(timeout_s=120)

    assert sorted(r.iteration for r in job.results()) == [1, 2, 3]
    assert link.counts["relayed"] < 3 * SIZE + 3 * OVERHEAD
