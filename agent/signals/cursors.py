"""Choose the cursor that a plan asks for."""

from agent.signals.plan import Plan
from agent.signals.recording import Recording
from agent.signals.triggers import BACKLOG, TriggerCursor
from agent.signals.windows import CountCursor, Cursor, TimeCursor

__all__ = ["open_cursor"]


def open_cursor(
    recording: Recording, plan: Plan, start_ns: int, *, backlog: int = BACKLOG
) -> Cursor:
    """Return a cursor on the samples from ``start_ns`` on; triggers are found from there on."""
    recording.watch_buses(plan.messages)
    if plan.condition is not None:
        return TriggerCursor(recording, plan, start_ns, backlog=backlog)
    if plan.count is not None:
        return CountCursor(recording, plan, start_ns)
    return TimeCursor(recording, plan, start_ns)
