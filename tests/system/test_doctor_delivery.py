"""The last links of `oodida doctor`'s chain, broken for real: sent, and acknowledged."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.disk import Disk, cannot_mount
from tests.faults.message_link import MessageLink
from tests.system.doctor import eventually
from user_lib.demo.local_fleet import LocalFleet, LocalVehicle, simulated

pytestmark = pytest.mark.timeout(300)

LEASE_S = 6.0
TOO_NARROW = 8_000
"""Bytes: more than a heartbeat has, less than a result of WIDE."""
WIDE = {
    "signals": ["Vehicle.Speed"],
    "window": {"samples": 1000},
    "onboard": "collect",
    "iterations": "forever",
}
SMALL = {**WIDE, "onboard": "mean", "window": {"samples": 10}}


def goes_on(job: Any) -> Callable[[], bool]:
    before = job.info.results
    return lambda: job.info.results > before


def add_car(local: LocalFleet, cloud: str) -> None:
    car = simulated("driven-1", "compact", seed=3, speed=20.0)
    local.vehicles["driven-1"] = LocalVehicle(
        car.vehicle_id, car.profile, car.sources, {"cloud": cloud}
    )
    local.start_agent("driven-1")


class TestOverALink:
    """Between vehicle and cloud is a link that swallows some of what passes."""

    @pytest.fixture
    def local(self, tmp_path: Path) -> Iterator[LocalFleet]:
        config = {"lease_s": LEASE_S}
        with LocalFleet(tmp_path, [], cloud_config=config, insecure=True) as local:
            local.start_cloud()
            yield local

    @pytest.fixture
    def link(self, local: LocalFleet) -> Iterator[MessageLink]:
        link = MessageLink(local.endpoint, seed=1)
        add_car(local, link.endpoint)
        yield link
        link.close()

    @pytest.fixture
    def job(self, local: LocalFleet, link: MessageLink) -> Iterator[Any]:
        with local.connect("tester") as fleet:
            local.wait_online(fleet)
            job = fleet.assign(WIDE)
            eventually(lambda: job.info.results > 1)
            yield job

    def test_results_that_a_narrow_tunnel_swallows_are_not_sent(
        self, link: MessageLink, job: Any, doctor: Any
    ) -> None:
        link.largest_up = TOO_NARROW

        found = doctor.until(job.id, "sent")["sent"]

        assert link.counts["swallowed"]
        assert "none reaches the cloud, though its heartbeats do" in found.found
        assert "MTU" in found.advice
        assert doctor.broken(doctor.links("driven-1")) == "sent"
        link.calm()
        doctor.until(job.id, "")
        eventually(goes_on(job))

    def test_acknowledgements_that_do_not_come_back_are_named(
        self, link: MessageLink, job: Any, doctor: Any
    ) -> None:
        link.deaf = True

        found = doctor.until(job.id, "acknowledged")

        assert found["sent"].holds == "yes"
        assert "results reach the cloud, and the vehicle has not" in found["acknowledged"].found
        assert "neither lost nor counted twice" in found["acknowledged"].advice
        assert doctor.broken(doctor.links("driven-1")) == "acknowledged"
        link.calm()
        doctor.until(job.id, "")
        eventually(goes_on(job))


@pytest.mark.skipif(bool(cannot_mount()), reason=cannot_mount())
class TestOnAFullDisk:
    """The cloud's ledger is on a small disk, with keys as in life."""

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Disk]:
        disk = Disk(tmp_path / "disk", mb=24)
        yield disk
        disk.close()

    @pytest.fixture
    def local(self, tmp_path: Path, disk: Disk) -> Iterator[LocalFleet]:
        ledger = str(disk.path / "cloud.db")
        with LocalFleet(tmp_path, [], cloud_config={"lease_s": LEASE_S, "ledger": ledger}) as local:
            local.start_cloud()
            yield local

    def test_a_cloud_that_cannot_keep_results_does_not_acknowledge_them(
        self, local: LocalFleet, disk: Disk, doctor: Any
    ) -> None:
        with local.connect("tester") as fleet:
            add_car(local, local.endpoint)
            local.wait_online(fleet)
            job = fleet.assign(SMALL)
            eventually(lambda: job.info.results > 1)
            disk.fill(leave_bytes=0)

            found = doctor.until(job.id, "acknowledged")

            assert found["sent"].holds == "yes"
            assert "the cloud cannot keep what arrives: " in found["acknowledged"].found
            assert "full" in found["acknowledged"].found
            assert "makes room on the disk of the ledger" in found["acknowledged"].advice
            disk.empty()
            doctor.until(job.id, "")
            eventually(goes_on(job))
