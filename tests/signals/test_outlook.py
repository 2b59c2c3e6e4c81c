"""What frames that were not looked at can bring: a window is never missed for it."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signals.cursors import open_cursor
from agent.signals.outlook import ANYTHING, Want, Wanted
from agent.signals.plan import plan_of
from user_lib.contract.clock import MS
from user_lib.contract.frames import FrameBatch
from user_lib.contract.validation import parse


class Holding:
    """What a source holds, counted exactly."""

    def __init__(self, batch: FrameBatch) -> None:
        self._ids = batch.can_id.tolist()

    def waiting(self, can_id: int, *, extended: bool) -> int:
        return 0 if extended else self._ids.count(can_id)


ASKED = [
    {"window": {"samples": 4}},
    {"window": {"samples": 3, "every": 0.5}},
    {"window": {"seconds": 0.1}},
    {"window": {"seconds": 0.1, "every": 0.3}},
    {"signals": ["Motion.Speed", "Brake.Pressure"], "window": {"samples": 2}},
    {"signals": ["Car.Work"], "window": {"samples": 3}},
    {"signals": ["Body.Warmth"], "window": {"samples": 2}},
    {"signals": ["@bus.can0.load"], "window": {"samples": 2}},
    {"window": {"seconds": 0.1}, "when": "Motion.Speed > 100"},
]
frame = st.tuples(st.integers(-30, 90), st.integers(0, 2), st.integers(0, 300))


@settings(max_examples=200, deadline=None)
@given(
    asked=st.sampled_from(ASKED),
    drive=st.lists(frame, min_size=2, max_size=120),
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=12),
)
def test_a_window_is_complete_only_after_frames_that_were_worth_a_look(
    car: Any, asked: dict[str, Any], drive: list[Any], cuts: list[int]
) -> None:
    recording = car.recording()
    plan = plan_of(
        parse({"signals": ["Motion.Speed"], "onboard": "mean", **asked}), recording.names
    )
    times = np.maximum(np.cumsum([step for step, _, _ in drive]), 0) * MS
    make = (car.motion, car.brake, lambda t, value: car.body(t, value % 2, value % 256))
    frames = [make[kind](int(t), value) for t, (_, kind, value) in zip(times, drive, strict=True)]
    recording.add(car.batch_of(frames[:1]))
    cursor = open_cursor(recording, plan, frames[0].time_ns)
    done = turn = 1
    while done < len(frames):
        batch = car.batch_of(frames[done : done + cuts[turn % len(cuts)]])
        wanted = Wanted([cursor.want()], recording.identifiers)
        worth = wanted.may_be_among([Holding(batch)], frames_latest(recording, batch))
        recording.add(batch)
        cursor.track()
        complete = 0
        while cursor.take() is not None:
            complete += 1
        assert worth or not complete
        done, turn = done + len(batch), turn + 1


def frames_latest(recording: Any, batch: FrameBatch) -> int:
    return max(recording.timeline.latest_ns, int(batch.time_ns.max()))


def test_a_want_of_rows_is_met_by_those_of_its_message_alone(car: Any) -> None:
    identifiers = car.recording().identifiers
    waiting = Holding(car.batch_of([car.brake(0, 1), car.brake(1, 1), car.motion(2, 1)]))
    motion = next(m for m, found in enumerate(identifiers) if found == (256, False))

    def worth(*wants: Want) -> bool:
        return Wanted(wants, identifiers).may_be_among([waiting], latest_ns=50)

    assert not worth()
    assert not worth(Want(message=motion, rows=2))
    assert worth(Want(message=motion, rows=1))
    assert worth(Want(message=motion, rows=9), Want(message=motion, rows=1))
    assert worth(Want(message=motion, rows=9), Want(at_ns=50))
    assert not worth(Want(message=motion, rows=9), Want(at_ns=51))
    assert worth(ANYTHING)


def test_what_no_single_identifier_brings_is_always_worth_a_look(car: Any) -> None:
    recording = car.recording()
    bus = next(i for i, m in enumerate(recording.catalog.messages) if m.name == "@bus.can0")

    wanted = Wanted([Want(message=bus, rows=5)], recording.identifiers)

    assert wanted.may_be_among([], latest_ns=0)
