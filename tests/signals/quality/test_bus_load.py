"""What is told of a bus for every 100 ms, against a plain account of its frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signals import load_profile, run_on_log
from agent.signals.cursors import open_cursor
from agent.signals.plan import plan_of
from agent.signals.quality.frame_time import Bitrate, FrameTimes
from agent.signals.recording import Recording
from agent.signals.timeline import LATENESS_NS, SLEEP_NS
from dbc import Catalog, load
from hw import read_log
from hw.simulated.car import model_databases, simulate
from user_lib.contract.clock import MS, SECOND
from user_lib.contract.frames import BRS, ERROR, ESI, EXTENDED, FD, REMOTE, TX, FrameBatch
from user_lib.contract.validation import parse

HUNDRED_MS = 100 * MS
CHANNELS = ("can0", "can1")
FIELDS = ("load", "load_worst", "frames", "errors")

Frame = tuple[int, int, int, int]
"""Time, bus, flags, length."""


def batch_of(frames: Sequence[Frame]) -> FrameBatch:
    batch = FrameBatch.zeros(len(frames), 64)
    for i, (time_ns, bus, flags, length) in enumerate(frames):
        batch.time_ns[i], batch.bus[i], batch.flags[i] = time_ns, bus, flags
        batch.length[i], batch.can_id[i] = length, 7
    return batch


def recorded(frames: Sequence[Frame], cuts: Sequence[int] = (), **more: Any) -> Recording:
    recording = Recording(Catalog(messages=()), CHANNELS, history_mb=1.0, **more)
    for part in np.split(np.arange(len(frames)), sorted(min(c, len(frames)) for c in cuts)):
        recording.add(batch_of([frames[i] for i in part]))
    recording.finish()
    return recording


def rows_of(recording: Recording, channel: str, field: str) -> dict[int, float]:
    signal = recording.names.resolve(f"@bus.{channel}.{field}")
    samples = recording.reader.rows(signal, 0, 10**9)
    return dict(zip(samples.time_ns.tolist(), samples.values.tolist(), strict=True))


def exact_bits(flags: int, length: int) -> tuple[float, float]:
    """Return the bits of a frame at the arbitration and at the data rate, stuffed as expected."""
    stuff = 13 / 12
    wide = bool(flags & EXTENDED)
    if flags & ERROR:
        return 0, 0
    if not flags & FD or flags & REMOTE:
        data = 0 if flags & REMOTE else 8 * min(length, 8)
        return ((54 if wide else 34) + data) * stuff + 13, 0
    slow, fast = (36 if wide else 17) * stuff, (5 + 8 * length) * stuff
    check = 28 if length <= 16 else 33
    if flags & BRS:
        return slow + 12, fast + check
    return slow + fast + check + 12, 0


def account(frames: Sequence[Frame], bus: int) -> dict[str, dict[int, float]]:
    """Say what each interval of a bus holds, by the rules as they are written down."""
    newest, placed, sleeps = frames[0][0], [], []
    for time_ns, *_ in frames:
        if time_ns > newest + SLEEP_NS:
            sleeps.append((newest, time_ns - LATENESS_NS))
        newest = max(newest, time_ns)
        placed.append(max(time_ns, newest - LATENESS_NS, frames[0][0]))
    found: dict[str, dict[int, float]] = {field: {} for field in FIELDS}
    start = -(-frames[0][0] // HUNDRED_MS) * HUNDRED_MS
    while start + HUNDRED_MS <= newest + 1:
        end = start + HUNDRED_MS
        asleep = any(a < start and end <= b for a, b in sleeps)
        if not asleep:
            inside = [
                frame
                for frame, t in zip(frames, placed, strict=True)
                if start <= t < end and frame[1] == bus
            ]
            bits = [exact_bits(flags, length) for _, _, flags, length in inside]
            busy_s = sum(a / 500_000 + b / 2_000_000 for a, b in bits)
            found["load"][end] = busy_s / 0.1 * 100
            found["frames"][end] = sum(1 for f in inside if not f[2] & ERROR)
            found["errors"][end] = sum(1 for f in inside if f[2] & ERROR)
        start = end
    return found


@st.composite
def traffic(draw: st.DrawFn) -> list[Frame]:
    """Frames on two buses that step back a little, pause, and sleep."""
    steps = st.sampled_from([0, 1, 7, 30, 99, 100, 101, 500, 1000, 1001, 1100, 5000, -20, -60])
    kinds = st.sampled_from([0, EXTENDED, REMOTE, ERROR, FD, FD | BRS, FD | BRS | EXTENDED])
    frames, time_ns = [], draw(st.integers(0, 250)) * MS
    for _ in range(draw(st.integers(1, 30))):
        time_ns = max(time_ns + draw(steps) * MS + draw(st.integers(0, 3)), 0)
        frames.append((time_ns, draw(st.integers(0, 1)), draw(kinds), draw(st.integers(0, 64))))
    return frames


@settings(max_examples=200, deadline=None)
@given(frames=traffic(), cuts=st.lists(st.integers(0, 30), max_size=4))
def test_each_interval_is_what_a_plain_account_says_however_the_stream_is_cut(
    frames: list[Frame], cuts: list[int]
) -> None:
    recording = recorded(frames, cuts)

    for bus, channel in enumerate(CHANNELS):
        expected = account(frames, bus)
        for field in ("load", "frames", "errors"):
            found = rows_of(recording, channel, field)
            assert found == pytest.approx(expected[field], abs=1e-3), field
        assert rows_of(recording, channel, "load_worst").keys() == expected["load"].keys()


@pytest.mark.parametrize(
    ("flags", "length", "plain_bits", "stuffed_bits"),
    [
        (0, 8, 111, 24),
        (0, 0, 47, 8),
        (EXTENDED, 8, 131, 29),
        (REMOTE, 8, 47, 8),
        (TX, 8, 111, 24),
        (TX | ESI | EXTENDED, 8, 131, 29),
    ],
)
def test_a_classic_frame_takes_at_most_the_bits_that_the_standard_gives_it(
    flags: int, length: int, plain_bits: int, stuffed_bits: int
) -> None:
    times = FrameTimes(Bitrate(1_000_000))
    cell = times.cells(np.array([flags], np.uint8), np.array([length], np.uint8))

    assert times.worst_ns[cell].tolist() == [1000 * (plain_bits + stuffed_bits)]
    assert plain_bits < times.expected_ns[cell][0] / 1000 < plain_bits + stuffed_bits


def test_what_an_error_frame_destroyed_takes_no_time_whatever_else_its_flags_say() -> None:
    times = FrameTimes(Bitrate())
    flags = np.array([ERROR, ERROR | EXTENDED, ERROR | FD | BRS | TX], np.uint8)
    cells = times.cells(flags, np.array([8, 8, 64], np.uint8))

    assert times.expected_ns[cells].tolist() == times.worst_ns[cells].tolist() == [0, 0, 0]


def test_a_frame_of_can_fd_is_faster_with_a_bit_rate_switch() -> None:
    times = FrameTimes(Bitrate(500_000, 5_000_000))
    flags = np.array([FD, FD | BRS], np.uint8)
    slow, fast = times.expected_ns[times.cells(flags, np.array([64, 64], np.uint8))]

    assert slow / fast == pytest.approx(6.7, abs=0.3)


def test_each_bus_has_its_own_speed() -> None:
    frames = [(t * MS, bus, 0, 8) for t in range(0, 400, 10) for bus in (0, 1)]

    recording = recorded(frames, bitrates={"can1": Bitrate(250_000)})

    fast, slow = (rows_of(recording, channel, "load") for channel in CHANNELS)
    assert slow.keys() == fast.keys()
    assert list(slow.values()) == pytest.approx([2 * v for v in fast.values()], rel=1e-5)


def test_a_full_bus_is_loaded_to_a_hundred_per_cent() -> None:
    step_ns = round((111 + 98 / 12) * 2000)  # one frame after the other, at 500 kbit/s
    frames = [(i * step_ns, 0, 0, 8) for i in range(2000)]

    load_by_time = rows_of(recorded(frames), "can0", "load")

    assert len(load_by_time) == 4
    assert all(99 < v < 101 for v in load_by_time.values())


def test_a_bus_can_be_asked_for_and_triggers_like_any_signal() -> None:
    batch = FrameBatch.concatenate(list(simulate("compact", 1, 12.0)))
    lost = (batch.time_ns >= 8 * SECOND) & (batch.time_ns < 9 * SECOND) & (batch.bus == 0)
    spec = parse(
        {
            "signals": ["@bus.can0.frames", "@bus.can1.load", "EngineData.EngineSpeed"],
            "onboard": "mean",
            "when": {"condition": "@bus.can0.frames == 0", "before_s": 1, "after_s": 0.5},
        }
    )

    (window,) = run_on_log(
        spec, load(model_databases("compact")), [batch.take(~lost)], ["can0", "can1"]
    )

    assert window.trigger_ns == 8 * SECOND + HUNDRED_MS
    frames = window["@bus.can0.frames"]
    assert (frames[:10] > 20).all()
    assert frames[10:].tolist() == [0.0] * 6
    assert (window["@bus.can1.load"] > 1).all()
    assert window.units["@bus.can1.load"] == "%"


def test_bus_load_of_a_recorded_drive_is_close_to_what_its_bits_say(shared_data: Path) -> None:
    profile = load_profile("tesla", [Path(__file__).resolve().parents[2] / "profiles"])
    log = read_log(shared_data / "logs" / "tesla_m3_drive.candump.log")
    batch = FrameBatch.concatenate(list(log))
    spec = parse({"signals": ["@bus.vcan0.load"], "onboard": "mean", "window": {"samples": 20}})

    window = next(run_on_log(spec, profile, [batch], log.channels))

    for end_ns, percent in zip(
        window.times["@bus.vcan0.load"], window["@bus.vcan0.load"], strict=True
    ):
        inside = (batch.time_ns >= end_ns - HUNDRED_MS) & (batch.time_ns < end_ns)
        exact = sum(
            bits_on_the_wire(int(batch.can_id[i]), bytes(batch.data[i, : batch.length[i]]))
            for i in np.flatnonzero(inside)
        )
        assert percent == pytest.approx(exact / 50_000 * 100, rel=0.04)


def bits_on_the_wire(can_id: int, payload: bytes) -> int:
    """Count a frame's bits with its stuff bits and the gap after it, one by one."""
    head = f"0{can_id:011b}000{len(payload):04b}" + "".join(f"{byte:08b}" for byte in payload)
    crc = 0
    for bit in map(int, head):
        crc = (crc << 1 ^ (0x4599 if bit ^ crc >> 14 else 0)) & 0x7FFF
    bits, sent, run = head + f"{crc:015b}", 0, ""
    for bit in bits:
        run = run + bit if run.endswith(bit) else bit
        sent += 1
        if len(run) == 5:
            run = "10"[int(bit)]
            sent += 1
    return sent + 13


def test_what_came_before_anyone_watched_is_there_for_a_look_back() -> None:
    frames = [(t * 10 * MS, 0, 0, 8) for t in range(200)]
    recording = Recording(Catalog(messages=()), CHANNELS, history_mb=1.0)
    recording.add(batch_of(frames))

    spec = parse({"signals": ["@bus.can0.frames"], "onboard": "mean", "window": {"samples": 3}})
    cursor = open_cursor(recording, plan_of(spec, recording.names), SECOND)
    window = cursor.take()

    assert window is not None
    assert window.times["@bus.can0.frames"].tolist() == [
        SECOND,
        SECOND + 100 * MS,
        SECOND + 200 * MS,
    ]
    assert window["@bus.can0.frames"].tolist() == [10.0] * 3
