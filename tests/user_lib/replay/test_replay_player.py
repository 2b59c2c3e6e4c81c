import json
import uuid
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import can
import numpy as np
import pytest

from user_lib.cli import main
from user_lib.contract.clock import MS, SystemClock
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import BRS, ERROR, EXTENDED, FD, REMOTE, FrameBatch
from user_lib.replay import player as module
from user_lib.replay.player import Player, Target, open_targets

KINDS = [
    (0x123, 0, b"\1\2"),
    (0x1ABCDEF0, EXTENDED, b"\3" * 8),
    (0x124, FD | BRS, bytes(range(64))),
    (0x125, REMOTE, b""),
    (0x126, ERROR, b""),
]


def every_kind() -> FrameBatch:
    batch = FrameBatch.zeros(len(KINDS), 64)
    for row, (can_id, flags, payload) in enumerate(KINDS):
        batch.time_ns[row] = row * MS
        batch.can_id[row], batch.flags[row], batch.length[row] = can_id, flags, len(payload)
        batch.data[row, : len(payload)] = np.frombuffer(payload, np.uint8)
    return batch


def heard(bus: can.BusABC) -> list[can.Message]:
    found = []
    while (message := bus.recv(0)) is not None:
        found.append(message)
    return found


def test_every_kind_of_frame_arrives_as_it_was_and_error_frames_are_counted() -> None:
    name = uuid.uuid4().hex
    with ExitStack() as opening, can.Bus(interface="virtual", channel=name) as listener:
        buses = open_targets({0: Target("virtual", name)}, opening, real_bus=False)

        played = Player(buses, SystemClock(), speed=1.0).play([every_kind()])

        assert (played.sent, played.skipped, played.refused) == (4, 1, 0)
        got = [
            (m.arbitration_id, m.is_extended_id, m.is_fd, m.is_remote_frame, bytes(m.data))
            for m in heard(listener)
        ]
    assert got == [
        (0x123, False, False, False, b"\1\2"),
        (0x1ABCDEF0, True, False, False, b"\3" * 8),
        (0x124, False, True, False, bytes(range(64))),
        (0x125, False, False, True, b""),
    ]


def test_frames_leave_at_their_time_and_not_before() -> None:
    name = uuid.uuid4().hex
    batch = every_kind().take(slice(0, 2))
    batch.time_ns[:] = [5_000 * MS, 5_400 * MS]
    with ExitStack() as opening, can.Bus(interface="virtual", channel=name):
        buses = open_targets({0: Target("virtual", name)}, opening, real_bus=False)

        played = Player(buses, SystemClock(), speed=2.0).play([batch])

    assert played.sent == 2
    assert played.seconds >= 0.199


def test_a_bus_without_a_target_is_left_out_and_counted() -> None:
    name = uuid.uuid4().hex
    batch = every_kind().take(slice(0, 2))
    batch.bus[1] = 1
    with ExitStack() as opening, can.Bus(interface="virtual", channel=name) as listener:
        buses = open_targets({0: Target("virtual", name)}, opening, real_bus=False)

        played = Player(buses, SystemClock(), speed=100.0).play([batch])

        assert [m.arbitration_id for m in heard(listener)] == [0x123]
    assert (played.sent, played.skipped) == (1, 1)


def test_a_real_controller_needs_to_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "can0" / "device").mkdir(parents=True)
    monkeypatch.setattr(module, "NETWORK_INTERFACES", tmp_path)

    with ExitStack() as opening, pytest.raises(SourceError, match="--real-bus"):
        open_targets({0: Target("socketcan", "can0")}, opening, real_bus=False)
    with ExitStack() as opening, pytest.raises(SourceError, match="--real-bus"):
        open_targets({0: Target("pcan", "PCAN_USBBUS1")}, opening, real_bus=False)


def test_an_interface_that_is_absent_says_how_to_make_it() -> None:
    with ExitStack() as opening, pytest.raises(SourceError) as caught:
        open_targets({0: Target("socketcan", "vcan77")}, opening, real_bus=False)

    assert "vcan77" in str(caught.value)
    with ExitStack() as opening, pytest.raises(SourceError, match="did you mean virtual"):
        open_targets({0: Target("virtul", "x")}, opening, real_bus=True)


def test_the_command_plays_a_simulated_car_on_two_interfaces(
    capfd: pytest.CaptureFixture[str],
) -> None:
    names = [uuid.uuid4().hex for _ in range(2)]
    with (
        can.Bus(interface="virtual", channel=names[0]) as first,
        can.Bus(interface="virtual", channel=names[1]) as second,
    ):
        status = main([
            "replay", "--simulated", "compact", "--interface", "virtual", "--json",
            "--channel", f"can0={names[0]}", "--channel", f"can1={names[1]}",
            "--duration", "1", "--speed", "5", "--wrong-counters", "0.1", "--load", "30",
        ])  # fmt: skip

        told = json.loads(capfd.readouterr().out)
        counts = [len(heard(first)), len(heard(second))]
    assert status == 0
    assert told["sent"] == sum(counts)
    assert min(counts) > 100
    assert told["skipped"] == told["refused"] == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--channel", "x"], "one of the two"),
        (["--simulated", "compct", "--channel", "x"], "did you mean compact"),
        (["--simulated", "compact", "--channel", "can7=x"], "there is no channel 'can7'"),
        (["/no/such.log", "--channel", "x"], "/no/such.log"),
    ],
)
def test_a_mistake_on_the_command_line_says_what_there_is(
    given: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", "--interface", "virtual", *given]) == 2
    assert said in capfd.readouterr().err


@pytest.mark.skipif(find_spec("msgpack") is not None, reason="msgpack is installed")
def test_an_interface_that_lacks_a_package_names_it() -> None:
    with ExitStack() as opening, pytest.raises(SourceError, match="; run: pip install msgpack"):
        open_targets({0: Target("udp_multicast", "239.74.163.2")}, opening, real_bus=False)
