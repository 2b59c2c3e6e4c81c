"""The same windows over a log, offline: deterministic, all of them, nothing lost."""

import sys
from collections.abc import Iterable, Iterator, Sequence

from agent.signals.cursors import open_cursor
from agent.signals.plan import plan_of
from agent.signals.profile import Profile
from agent.signals.recording import Recording, slices
from agent.signals.timeline import SourceTime
from agent.signals.windows import Cursor
from dbc import Catalog
from user_lib.contract.assignment import Assignment
from user_lib.contract.frames import FrameBatch
from user_lib.contract.window import Window

__all__ = ["run_on_log"]


def run_on_log(
    assignment: Assignment,
    vehicle: Profile | Catalog,
    batches: Iterable[FrameBatch],
    channels: Sequence[str],
    *,
    history_mb: float = 256.0,
) -> Iterator[Window]:
    """Yield every window that the assignment would get if it ran from the log's first frame on.

    ``channels`` names the buses of the batches. A window that the log ends before is not given;
    nor does the number of iterations end it: take as many windows as wanted.

    Raises: UnknownSignal, ExpressionError; WindowTooLarge, if a window needs more than
            ``history_mb``.
    """
    if isinstance(vehicle, Profile):
        recording = Recording(
            vehicle.load_catalog(),
            channels,
            derived=vehicle.derived,
            bitrates=vehicle.bitrates,
            history_mb=history_mb,
        )
    else:
        recording = Recording(vehicle, channels, history_mb=history_mb)
    plan = plan_of(assignment, recording.names)
    source_time = SourceTime()
    cursor: Cursor | None = None
    for batch in batches:
        for part in slices(source_time.follow_batch(batch)):
            recording.add(part)
            if cursor is None:
                cursor = open_cursor(
                    recording, plan, recording.timeline.first_ns or 0, backlog=sys.maxsize
                )
            yield from _windows(cursor)
    recording.finish()
    if cursor is not None:
        yield from _windows(cursor)


def _windows(cursor: Cursor) -> Iterator[Window]:
    cursor.track()
    while (window := cursor.take()) is not None:
        yield window
