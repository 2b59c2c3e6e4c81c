"""An assignment's stream of events, as its handler writes it."""

from cloud.context import Context
from cloud.jobs.values import Stamps, round_closed
from cloud.ledger import AssignmentRow
from cloud.offboard import Done
from user_lib.contract.messages import JobChanged, Result

__all__ = ["Stream"]


class Stream:
    """Writes events to the ledger and tells the requests that wait for news."""

    def __init__(self, context: Context, row: AssignmentRow) -> None:
        self._context, self._row = context, row

    def result(self, result: Result) -> bool:
        """Keep a result; False for a repeat."""
        now_ns = self._context.clock.unix_ns()
        new = self._context.ledger.add_result(self._row, result, now_ns)
        if new:
            self._news()
        return new

    def job(self, reason: str, detail: str = "") -> None:
        """Tell of a change of the whole assignment."""
        self.changed(self._event(reason, detail))

    def changed(self, event: JobChanged) -> None:
        """Tell of a change of the assignment or of one vehicle's part."""
        self._context.ledger.append(self._row, "job", event)
        self._news()

    def round(self, done: Done, stamps: Stamps) -> None:
        """Publish a closed round with its values."""
        row = self._row
        row.rounds_closed += 1
        self._context.ledger.append(row, "round", round_closed(row.assignment_id, done, stamps))
        self._context.ledger.rounds.published(row.row, done.work.closing.number)
        self._news()

    def _event(self, reason: str, detail: str) -> JobChanged:
        row = self._row
        return JobChanged(
            assignment_id=row.assignment_id, state=row.state, reason=reason, detail=detail
        )

    def _news(self) -> None:
        self._context.news.assignments.add(self._row.assignment_id)
