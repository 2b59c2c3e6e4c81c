import numpy as np
import pytest
from numpy.typing import NDArray

from agent.signals.quality.frame_time import Bitrate, FrameTimes
from user_lib.contract.clock import MS, SECOND
from user_lib.contract.frames import FrameBatch
from user_lib.replay.faults import FILLER_ID, busy, gaps, stale_counters, with_faults


def counted(n: int, period_ns: int = 10 * MS, can_id: int = 0x100) -> FrameBatch:
    """Frames of one identifier whose first byte counts."""
    batch = FrameBatch.zeros(n)
    batch.time_ns[:] = np.arange(n) * period_ns
    batch.can_id[:] = can_id
    batch.length[:] = 8
    batch.data[:, 0] = np.arange(n)
    return batch


def in_parts(batch: FrameBatch, rows: int) -> list[FrameBatch]:
    return [batch.take(slice(i, i + rows)) for i in range(0, len(batch), rows)]


def load_of(batch: FrameBatch, bus: int, seconds: float) -> float:
    mine = batch.take(batch.bus == bus)
    times = FrameTimes(Bitrate(bitrate=500_000))
    spent: NDArray[np.float64] = times.expected_ns[times.cells(mine.flags, mine.length)]
    return float(spent.sum() / (seconds * SECOND) * 100)


def test_gaps_leave_out_the_end_of_every_period() -> None:
    batches = with_faults(in_parts(counted(400), 33), [gaps(1.0, 0.25)])

    left = FrameBatch.concatenate(list(batches))

    assert len(left) == 300
    assert set((left.time_ns // (10 * MS) % 100).tolist()) == set(range(75))


def test_a_stale_payload_is_the_one_before_of_the_same_identifier() -> None:
    other = counted(1000, can_id=0x200)
    other.data[:, 1] = 0xEE
    mixed = FrameBatch.concatenate([counted(1000), other])
    mixed = mixed.take(np.argsort(mixed.time_ns, kind="stable"))

    faulty = FrameBatch.concatenate(
        list(with_faults(in_parts(mixed, 77), [stale_counters(0.1, seed=1)]))
    )

    assert len(faulty) == 2000
    for can_id, marker in ((0x100, 0), (0x200, 0xEE)):
        mine = faulty.take(faulty.can_id == can_id)
        assert set(mine.data[:, 1].tolist()) == {marker}
        steps = np.diff(mine.data[:, 0].astype(np.int8))
        repeats = int(np.count_nonzero(steps == 0))
        assert 60 < repeats < 140
        assert set(steps.tolist()) <= set(range(6))  # it goes on with the right count afterwards


def test_the_same_seed_makes_the_same_faults() -> None:
    first, second = (
        FrameBatch.concatenate(list(with_faults([counted(500)], [stale_counters(0.2, seed=7)])))
        for _ in range(2)
    )

    assert np.array_equal(first.data, second.data)


@pytest.mark.parametrize("percent", [40.0, 90.0])
def test_a_bus_is_filled_up_to_the_load(percent: float) -> None:
    two = FrameBatch.concatenate([counted(1000, period_ns=2 * MS), counted(200)])
    two.bus[1000:] = 1
    two = two.take(np.argsort(two.time_ns, kind="stable"))

    full = FrameBatch.concatenate(list(with_faults(in_parts(two, 64), [busy(percent, 500_000, 2)])))

    assert np.all(np.diff(full.time_ns) >= 0)
    assert int(np.count_nonzero(full.can_id != FILLER_ID)) == 1200
    for bus in (0, 1):
        assert load_of(full, bus, 2.0) == pytest.approx(percent, rel=0.1)


def test_a_bus_that_is_busier_already_gets_no_fillers() -> None:
    batch = counted(4000, period_ns=MS // 2)  # about half of the time

    full = FrameBatch.concatenate(list(with_faults([batch], [busy(30.0, 500_000, 1)])))

    assert len(full) == 4000
