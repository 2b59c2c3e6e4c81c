from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw.logs import read_log
from hw.replay import MEMORY_FRAMES, Recorded, ReplaySource
from hw.source import SourceEnded
from user_lib.contract.clock import SystemClock
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import ERROR, REMOTE, FrameBatch

S = 1_000_000_000


def drain(source: ReplaySource, most: int = 1000) -> FrameBatch:
    """Read at once all that is there, until the source ends."""
    batches = []
    for _ in range(most):
        try:
            batches.append(source.read(0))
        except SourceEnded:
            break
    return FrameBatch.concatenate(batches)


def test_at_full_speed_every_frame_comes_and_then_the_end(frames: Any, clock: Any) -> None:
    source = ReplaySource(frames([10.0, 10.5, 11.0, 12.0]), clock, speed="max")

    read = drain(source)

    assert (read.time_ns / S).tolist() == [10.0, 10.5, 11.0, 12.0]
    assert not source.live
    with pytest.raises(SourceEnded):
        source.read(0)
    assert source.stats().ended
    assert source.stats().frames == 4


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_in_real_time_frames_come_when_they_are_due(frames: Any, clock: Any, speed: float) -> None:
    source = ReplaySource(frames([10.0, 10.5, 11.0, 12.0], size=2), clock, speed=speed)

    assert source.live
    assert source.read(0).time_ns.tolist() == [10 * S]
    assert len(source.read(0)) == 0
    clock.advance(0.6 / speed)
    assert (source.read(0).time_ns / S).tolist() == [10.5]
    clock.advance(10 / speed)
    assert (source.read(0).time_ns / S).tolist() == [11.0, 12.0]
    with pytest.raises(SourceEnded):
        source.read(0)


def test_a_slow_reader_gets_its_frames_later_and_loses_none(frames: Any, clock: Any) -> None:
    source = ReplaySource(frames([i / 100 for i in range(500)]), clock)
    source.read(0)
    clock.advance(60)

    assert len(drain(source)) == 499
    assert source.stats().dropped == 0


def test_with_a_capacity_a_slow_reader_loses_what_does_not_fit(frames: Any, clock: Any) -> None:
    source = ReplaySource(frames([i / 100 for i in range(500)]), clock, capacity_frames=64)
    source.read(0)
    clock.advance(0.64)
    assert source.read(0).can_id.tolist() == list(range(1, 65))
    clock.advance(1)
    assert source.read(0).can_id.tolist() == list(range(65, 129))
    assert source.stats().dropped == 36
    clock.advance(60)

    assert source.read(0).can_id.tolist() == list(range(165, 229))
    with pytest.raises(SourceEnded):
        source.read(0)
    assert source.stats().dropped == 36 + 335 - 64
    assert source.stats().frames == 1 + 3 * 64
    assert source.stats().ended


def test_a_jump_of_the_wall_clock_changes_nothing(frames: Any, clock: Any) -> None:
    source = ReplaySource(frames([0.0, 1.0, 2.0]), clock)
    source.read(0)
    clock.wall_ns += 10**15

    assert len(source.read(0)) == 0
    clock.advance(1)
    assert len(source.read(0)) == 1


def test_a_frame_whose_time_goes_back_comes_with_the_one_before_it(frames: Any, clock: Any) -> None:
    source = ReplaySource(frames([0.0, 2.0, 1.0, 3.0], size=4), clock)
    source.read(0)

    clock.advance(1.5)
    assert len(source.read(0)) == 0
    clock.advance(0.5)
    assert (source.read(0).time_ns / S).tolist() == [2.0, 1.0]


def test_a_loop_keeps_time_rising_by_duration_and_a_median_gap(frames: Any, clock: Any) -> None:
    source = ReplaySource(frames([5.0, 5.1, 5.2, 5.3, 5.9], size=2), clock, speed="max", loop=True)
    read = FrameBatch.concatenate([source.read(0) for _ in range(9)])

    gaps = np.diff(read.time_ns) / S
    assert np.allclose(gaps[:4], [0.1, 0.1, 0.1, 0.6])
    assert np.isclose(gaps[4], 0.1)
    assert np.allclose(gaps[5:9], [0.1, 0.1, 0.1, 0.6])
    assert source.stats().loops == 2
    assert read.can_id.tolist() == [0, 1, 2, 3, 4] * 3


def test_a_loop_in_real_time_goes_on_at_the_same_pace(frames: Any, clock: Any) -> None:
    source = ReplaySource(frames([0.0, 1.0, 2.0]), clock, loop=True)
    counts = []
    for _ in range(12):
        counts.append(len(source.read(0)))
        clock.advance(1.0)

    assert sum(counts) == 12


def test_a_looped_log_of_one_frame_comes_once_a_second(frames: Any, clock: Any) -> None:
    source = ReplaySource(frames([7.0]), clock, loop=True)
    times = []
    for _ in range(3):
        times += source.read(0).time_ns.tolist()
        clock.advance(1.0)

    assert times == [7 * S, 8 * S, 9 * S]


def test_a_loop_over_nothing_ends(frames: Any, clock: Any) -> None:
    source = ReplaySource(frames([]), clock, speed="max", loop=True)

    with pytest.raises(SourceEnded):
        source.read(0)


def test_a_closed_source_ends_even_while_a_read_waits(frames: Any) -> None:
    source = ReplaySource(frames([0.0, 3600.0]), SystemClock())
    source.read(0)
    source.close()

    with pytest.raises(SourceEnded):
        source.read(30)


def test_a_read_waits_for_the_frame_that_is_due(frames: Any) -> None:
    source = ReplaySource(frames([0.0, 0.05]), SystemClock())
    source.read(0)

    assert len(source.read(20)) == 1


def test_error_and_remote_frames_are_counted(clock: Any) -> None:
    class Odd:
        channels = ("can0",)
        malformed = 3

        def __iter__(self) -> Any:
            batch = FrameBatch.zeros(4)
            batch.flags[:] = [0, ERROR, REMOTE, ERROR]
            yield batch

    source = ReplaySource(Odd(), clock, speed="max")
    source.read(0)

    assert source.stats().error_frames == 2
    assert source.stats().remote_frames == 1
    assert source.stats().malformed == 3


def test_a_recorded_log_names_all_channels_before_the_first_read(tmp_path: Path) -> None:
    path = tmp_path / "two.log"
    path.write_text("(1.000000) can1 118#00\n" * 20 + "(2.000000) vcan0 118#00\nbroken\n")

    recorded = Recorded(read_log(path), {"vcan0": "can0"})

    assert recorded.channels == ("can1", "can0")
    assert recorded.malformed == 1
    assert sum(map(len, recorded)) == 21
    assert sum(map(len, recorded)) == 21


def test_a_log_too_long_to_keep_is_read_again(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "long.log"
    n = MEMORY_FRAMES + 10
    path.write_text("".join(f"({i // 1000}.{i % 1000:03d}) can0 118#00\n" for i in range(n)))
    source = ReplaySource(Recorded(read_log(path), {}), clock, speed="max", loop=True)

    got, last_ns = 0, -1
    while got < 2 * n:
        batch = source.read(0)
        assert batch.time_ns[0] > last_ns
        got, last_ns = got + len(batch), int(batch.time_ns[-1])

    assert source.stats().loops == 1


def test_a_log_without_frames_or_channel_cannot_be_replayed(tmp_path: Path) -> None:
    empty, one = tmp_path / "empty.log", tmp_path / "one.log"
    empty.write_text("\n")
    one.write_text("(1.000000) can0 118#00\n")

    with pytest.raises(SourceError, match="holds no frames"):
        Recorded(read_log(empty), {})
    with pytest.raises(SourceError, match=r"no channel 'can7'; it has 'can0'"):
        Recorded(read_log(one), {"can7": "can1"})
