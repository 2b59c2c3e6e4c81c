"""Choose the cursor that a plan asks for."""

from agent.signals.plan import Plan
from agent.signals.recording import Recording
from agent.signals.triggers import TriggerCursor
from agent.signals.windows import CountCursor, Cursor, TimeCursor

__all__ = ["open_cursor"]


def open_cursor(recording: Recording, plan: Plan, start_ns: int) -> Cursor:
    """Return a cursor whose first window begins at ``start_ns``, with the first sample after it."""
    if plan.condition is not None:
        return TriggerCursor(recording, plan, plan.condition, start_ns)
    if plan.count is not None:
        return CountCursor(recording, plan, start_ns)
    return TimeCursor(recording, plan, start_ns)
