"""What an assignment carries from one round to the next: feedback, state, the pinned generation."""

from cloud.context import Context
from cloud.ledger import AssignmentRow, Carried, Parcel
from cloud.offboard import Done, Source, Work
from cloud.rounds import Closing

__all__ = ["Memory"]


class Memory:
    """Values by code version; the one that counts first also stands under ''.

    A round whose method failed leaves everything as it was: the next one gets the last good value.
    """

    def __init__(self, context: Context, row: AssignmentRow, generation: int = 0) -> None:
        self._context, self._row = context, row
        self._carried = context.ledger.assignments.memory(row.row)
        self.generation = generation
        """The on-board code generation that the present feedback round runs."""

    def pin(self) -> None:
        """Fix the generation for the round that begins."""
        if self._row.spec.onboard == "custom":
            self.generation = self._context.slots.get(self._row.analyst, "onboard").generation

    def feedback(self, version: str) -> Parcel:
        """Return the input of the present round for vehicles that run a version."""
        feedback = self._carried.feedback
        return feedback.get(version, feedback.get("", Parcel()))

    def work(self, closing: Closing) -> Work:
        """Return a closed round with all that the off-board method needs."""
        row = self._row
        source, fallback = self._sources() if row.spec.offboard == "custom" else (None, None)
        return Work(
            row=row.row,
            assignment_id=row.assignment_id,
            spec=row.spec,
            closing=closing,
            caps=self._context.config.offboard.caps,
            source=source,
            fallback=fallback,
            carried=self._carried,
            largest_bytes=self._context.contents.largest_bytes,
        )

    def keep(self, done: Done) -> None:
        """Take the values of a round over into the next, and keep those in contents."""
        self._keep_contents(done)
        spec = self._row.spec
        if not spec.feedback and spec.offboard != "custom":
            return
        good = [v for v in done.values if v.outcome.ok]
        if not good:
            return
        feedback, states = dict(self._carried.feedback), dict(self._carried.states)
        if len(done.values) > 1:
            feedback = {v.part.code_version: v.value for v in good}
            states = {v.part.code_version: v.state for v in good}
        feedback[""], states[""] = good[0].value, good[0].state
        self._carried = Carried(feedback, states)
        self._context.ledger.assignments.remember(self._row.row, self._carried)
        self._refer()

    def _keep_contents(self, done: Done) -> None:
        """Keep what a round's values are too large to hold themselves."""
        contents = self._context.ledger.contents
        for value in done.values:
            for content, data in value.bodies:
                contents.put(content, data)
            if value.value.payload is not None:
                contents.refer(self._row.row, value.value.payload, "aggregate")

    def _refer(self) -> None:
        """Let go of the contents of the last round; those of this one stay for the next."""
        contents, row = self._context.ledger.contents, self._row.row
        contents.release(row, ("feedback", "state"))
        for parcel in self._carried.feedback.values():
            if parcel.payload is not None and self._row.spec.feedback:
                contents.refer(row, parcel.payload, "feedback")
        for parcel in self._carried.states.values():
            if parcel.payload is not None:
                contents.refer(row, parcel.payload, "state")

    def _sources(self) -> tuple[Source | None, Source | None]:
        slots = self._context.slots
        slot = slots.get(self._row.analyst, "offboard")
        version, last_good = slot.offboard_version, slot.content.last_good
        if not version:
            return None, None
        source = Source(version, slots.source(version), slot.generation)
        if slot.proven or version != slot.content.version or last_good in ("", version):
            return source, None
        return source, Source(last_good, slots.source(last_good), slot.generation)
