"""How much of the history a plan needs, and whether it is there.

Rates come from what is in the rings, else from the database's cycle time, else `UNKNOWN_RATE_HZ`
is assumed; so the reckoning gets better while a task runs, and is made again then.
"""

from collections.abc import Mapping

from agent.signals.history.payloads import History
from agent.signals.names import lead_of
from agent.signals.plan import Plan
from agent.signals.recording import SLICE_FRAMES, Recording
from user_lib.contract.clock import SECOND
from user_lib.contract.errors import WindowTooLarge

__all__ = ["UNKNOWN_RATE_HZ", "check_room", "check_size", "most_samples", "rows_needed"]

UNKNOWN_RATE_HZ = 100.0
WINDOW_PART = 2
"""A decoded window may take this many times the memory of the history."""
_SAMPLE_BYTES = 16
_MEGABYTE = 1 << 20


def _rate_hz(recording: Recording, message: int) -> float:
    measured = recording.history.ring(message).rate_hz
    if measured is not None:
        return measured
    cycle_ms = recording.catalog.messages[message].cycle_time_ms
    return 1000.0 / cycle_ms if cycle_ms else UNKNOWN_RATE_HZ


def rows_needed(recording: Recording, plan: Plan, *, windows: float = 1.0) -> dict[int, int]:
    """Return how many rows of each message ``windows`` windows take, and a slice beside them."""
    if plan.count is not None:
        duration_s = plan.count / _rate_hz(recording, plan.lead_message)
    else:
        duration_s = (plan.duration_ns or 0) / SECOND
    rows: dict[int, int] = {}
    for message in plan.messages:
        n = duration_s * _rate_hz(recording, message)
        if plan.count is not None and message == plan.lead_message:
            n = plan.count
        rows[message] = int(n * windows) + 1 + SLICE_FRAMES
    return rows


def check_room(recording: Recording, plan: Plan) -> None:
    """Refuse a window for which the history has no room beside what is reserved already.

    Raises: WindowTooLarge, saying how much it would need and what would fit.
    """
    history = recording.history
    needed = rows_needed(recording, plan)
    if history.fits(needed):
        check_size(recording, _samples_expected(plan, needed))
        return
    part = _largest_part(recording, plan)
    if plan.count is not None:
        path, would_fit = "window.samples", f"{plan.count * part // 1000} samples"
    else:
        path, would_fit = "window", f"{(plan.duration_ns or 0) / SECOND * part / 1000:.1f} s"
    if part == 0:
        would_fit = "nothing"
    raise WindowTooLarge(
        f"the window needs {_megabytes(history, needed):.1f} MB of history for its "
        f"{len(needed)} messages, {history.spare_pages() * history.page_bytes / _MEGABYTE:.1f} "
        f"of {history.total_pages * history.page_bytes / _MEGABYTE:.1f} MB are not reserved; "
        f"{would_fit} would fit",
        path="when" if plan.condition is not None and plan.count is None else path,
    )


def check_size(recording: Recording, samples: int) -> None:
    """Refuse a window that would not fit in memory once it is decoded, or put on its grid.

    Raises: WindowTooLarge, saying how many samples it would have and how many it may have.
    """
    most = most_samples(recording)
    if samples > most:
        raise WindowTooLarge(
            f"the window would have {samples} samples in all its signals; at most {most} fit in "
            f"{WINDOW_PART} times the vehicle's history_mb: ask for a shorter window, a lower "
            "rate_hz or fewer signals",
            path="window",
        )


def most_samples(recording: Recording) -> int:
    """Return how many samples, of all signals together, a window may have."""
    history = recording.history
    return WINDOW_PART * history.total_pages * history.page_bytes // _SAMPLE_BYTES


def _samples_expected(plan: Plan, rows: Mapping[int, int]) -> int:
    if plan.rate_hz is not None:
        return int((plan.duration_ns or 0) / SECOND * plan.rate_hz) * len(plan.signals)
    return sum(rows[lead_of(signal).message] - SLICE_FRAMES for signal in plan.signals)


def _largest_part(recording: Recording, plan: Plan) -> int:
    """Return the largest part of the window that would fit, in thousandths of it."""
    low, high = 0, 1000
    while high - low > 1:
        middle = (low + high) // 2
        if recording.history.fits(rows_needed(recording, plan, windows=middle / 1000)):
            low = middle
        else:
            high = middle
    return low


def _megabytes(history: History, rows: Mapping[int, int]) -> float:
    pages = sum(history.pages_for(message, n) for message, n in rows.items())
    return pages * history.page_bytes / _MEGABYTE
