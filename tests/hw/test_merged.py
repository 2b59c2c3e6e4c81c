from typing import Any

import pytest

from hw.merged import merge
from hw.replay import ReplaySource
from hw.source import Source, SourceEnded
from user_lib.contract.errors import SourceError

S = 1_000_000_000


def test_channels_stand_end_to_end_and_frames_in_time_order(frames: Any, clock: Any) -> None:
    merged = merge(
        [
            ReplaySource(frames([1.0, 3.0, 5.0]), clock, speed="max"),
            ReplaySource(frames([2.0, 4.0, 6.0]), clock, speed="max"),
        ],
        clock=clock,
    )

    batch = merged.read(0)

    assert isinstance(merged, Source)
    assert merged.channels == ("can0", "can0")
    assert (batch.time_ns / S).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert batch.bus.tolist() == [0, 1, 0, 1, 0, 1]
    assert not merged.live


def test_it_ends_when_the_last_source_has(frames: Any, clock: Any) -> None:
    merged = merge(
        [
            ReplaySource(frames([1.0]), clock, speed="max"),
            ReplaySource(frames([1.0] * 9), clock, speed="max"),
        ],
        clock=clock,
    )
    total = sum(len(merged.read(0)) for _ in range(3))

    with pytest.raises(SourceEnded):
        merged.read(0)
    assert total == 10
    assert merged.stats().frames == 10
    assert merged.stats().ended


def test_one_source_of_two_that_has_ended_does_not_end_the_other(frames: Any, clock: Any) -> None:
    merged = merge(
        [
            ReplaySource(frames([1.0]), clock),
            ReplaySource(frames([1.0, 3.0]), clock),
        ],
        clock=clock,
    )

    assert len(merged.read(0)) == 2
    assert len(merged.read(0)) == 0
    clock.advance(2)
    assert len(merged.read(0)) == 1
    assert not merged.stats().ended


def test_a_single_source_is_returned_as_it_is_and_none_is_refused(frames: Any, clock: Any) -> None:
    source = ReplaySource(frames([1.0]), clock)

    assert merge([source]) is source
    with pytest.raises(SourceError, match="at least one"):
        merge([])


def test_closing_closes_every_source(frames: Any, clock: Any) -> None:
    sources = [ReplaySource(frames([1.0]), clock), ReplaySource(frames([1.0]), clock)]
    merged = merge(sources, clock=clock)

    merged.close()

    for source in (*sources, merged):
        with pytest.raises(SourceEnded):
            source.read(0)
