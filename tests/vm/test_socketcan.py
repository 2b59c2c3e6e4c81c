"""The SocketCAN source on a real CAN interface: one boot of a guest, judged here part by part."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.vm.lab import boot
from user_lib.contract.frames import BRS, ERROR, ESI, EXTENDED, FD, REMOTE, TX

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def found(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("socketcan")
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    shutil.copy(Path(__file__).with_name("guest") / "socketcan.py", folder)
    site = "/job/opt/oodida/app/lib/python3.11/site-packages"
    done = boot(folder, f"PYTHONPATH={site} python3 socketcan.py", "--guest", "uml")
    assert done.code == 0, str(done)
    return done.found


def test_every_kind_of_frame_arrives(found: dict[str, Any]) -> None:
    kinds = found["kinds"]
    assert kinds["can_id"] == [0x118, 0x118, 5, 6, 0x18FEF100, 0x40]
    assert kinds["flags"] == [
        TX | flag for flag in (0, EXTENDED, REMOTE, FD | BRS, FD | ESI | EXTENDED, ERROR | EXTENDED)
    ]
    assert kinds["length"] == [2, 0, 4, 64, 12, 8]
    assert kinds["long"] == list(range(64))
    assert -1 < kinds["late_s"] < 60
    assert (kinds["errors"], kinds["bus_offs"]) == (1, 1)


def test_two_interfaces_are_one_stream_by_time(found: dict[str, Any]) -> None:
    assert found["two_buses"] == {
        "channels": ["vcan0", "vcan1"],
        "can_id": list(range(100)),
        "bus": [0, 1] * 50,
        "alone": [[5], [0]],
        "connected": False,
    }


def test_as_many_frames_as_the_guest_can_send_are_taken_without_loss(found: dict[str, Any]) -> None:
    rate = found["full_rate"]
    assert (rate["frames"], rate["dropped"]) == (20_000, 0)
    assert rate["in_order"]


def test_a_frame_costs_less_than_with_python_can(found: dict[str, Any]) -> None:
    rate, reader = found["full_rate"], found["python_can"]
    assert rate["ours_us_a_frame"] < reader["python_can_us_a_frame"]


def test_what_the_kernel_had_no_room_for_is_counted(found: dict[str, Any]) -> None:
    assert found["overflow"]["kept"] + found["overflow"]["dropped"] == 2_001
    assert found["overflow"]["dropped"] > 0


def test_a_buffer_that_the_kernel_caps_is_told_with_the_remedy(found: dict[str, Any]) -> None:
    (said,) = found["small_buffer"]["said"]
    assert "sysctl net.core.rmem_max=12582912" in said


def test_the_kernel_drops_only_what_is_excluded(found: dict[str, Any]) -> None:
    assert found["exclusion"] == {"can_id": [0x117, 0x118, 0x118, 0x119], "dropped": 0}


def test_an_interface_that_comes_and_goes_is_survived(found: dict[str, Any]) -> None:
    assert found["comes_and_goes"] == {
        "down": False,
        "up": [1],
        "up_reconnects": 1,
        "removed": False,
        "made_but_down": False,
        "made_again": [2],
        "reconnects": 2,
    }


def test_setting_the_wall_clock_moves_no_frame(found: dict[str, Any]) -> None:
    assert found["wall_clock"]["spread_s"] < 0.5
