"""A store that keeps its vehicle's state as it is, in memory: no file, no encoding, no statement.

Ten thousand SQLite databases in one process cost more than all the rest of their vehicles. Only for
contents, which are too large for a message, a vehicle gets one, in memory.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from itertools import islice
from typing import Any

from msgspec.structs import replace

from agent.policy import Account
from agent.store import (
    Acknowledge,
    EndTask,
    Enqueue,
    Entry,
    Kept,
    Note,
    Origin,
    Retract,
    SaveAccount,
    SavePosition,
    SaveSlot,
    SaveTask,
    Store,
    Tell,
    Write,
)
from agent.store.database import Database
from agent.store.losses import FULL
from agent.store.store import MAX_IN_FLIGHT
from agent.tasks.code import CodeSlot
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import MAX_RUNS, Losses, Result, TaskEnded
from user_lib.contract.runs import joined
from user_lib.wire.content_rows import ContentRows

__all__ = ["LightStore"]

MAX_ENTRIES = 2000
"""The outbox is bounded by number; beyond it the oldest result becomes part of a record."""


class LightStore(Store):
    """Keeps what a `Store` keeps, as long as the process lives."""

    def __init__(self) -> None:
        self.epoch = uuid.uuid4().hex
        self.tasks: tuple[Kept, ...] = ()
        self.slots: tuple[CodeSlot, ...] = ()
        self.account = Account()
        self.dropped_results = self.retracted_results = self.entries = self.outbox_bytes = 0
        self._ended: set[AssignmentId] = set()
        self._outbox: dict[int, Result | Losses | TaskEnded] = {}
        self._last_seq = self._sent_seq = 0
        self._named: set[str] = set()
        self._records: dict[tuple[AssignmentId, str], int] = {}
        """The newest record of the losses of each assignment and reason, by its place."""
        self._writers: Mapping[type[Write], Callable[[Any], None]] = {
            Enqueue: self._enqueue,
            Retract: self._keep_here,
            Tell: lambda write: self._put(write.ended),
            EndTask: self._end,
            Acknowledge: self._forget,
            **dict.fromkeys((SaveTask, SavePosition, SaveSlot, SaveAccount, Note), _nothing),
        }

    @cached_property
    def _database(self) -> Database:  # type: ignore[override]
        return Database(None)

    @cached_property
    def contents(self) -> ContentRows:  # type: ignore[override]
        """What results name, and what tasks were given by name."""
        return ContentRows(self._database)

    def has_ended(self, assignment_id: AssignmentId) -> bool:
        """Whether the task is over."""
        return assignment_id in self._ended

    def apply(self, writes: Iterable[Write]) -> None:
        """Keep all of it."""
        for write in writes:
            self._writers[type(write)](write)
        while len(self._outbox) > MAX_ENTRIES and self._drop_one():
            self.dropped_results += 1
        self.entries = len(self._outbox)
        if self._named:
            gone, self._named = self._named, self._owed()
            self.forget(gone - self._named)

    def probe(self) -> None:
        """Memory can always be written."""

    def deliverable(self) -> list[Entry]:
        """Return the entries that may be on their way at the same time, oldest first."""
        waiting = self._outbox if not self._named else self._without_early_ends()
        return [Entry(seq, 0) for seq in islice(waiting, MAX_IN_FLIGHT)]

    def load(self, seq: int) -> Result | Losses | TaskEnded | None:
        """Return an entry's item; None when it is no longer there."""
        return self._outbox.get(seq)

    def forbidden(self, write: Retract) -> int:
        """Return how many results a rule would keep here."""
        return sum(
            isinstance(item, Result)
            and item.assignment_id == write.assignment_id
            and write.forbids(item, {})
            for item in self._outbox.values()
        )

    def forbidden_words(self, write: Retract) -> bool:
        """Whether the end of a task waits with words that a rule keeps here."""
        return any(self._wordy(item, write) for item in self._outbox.values())

    def origins(self) -> tuple[Origin, ...]:
        """Return none: a simulated vehicle's rules do not change."""
        return ()

    def bar(self, assignments: Iterable[AssignmentId]) -> None:
        """Memory can always be written, so nothing waits for that."""

    def owes(self, digest: str) -> bool:
        """Whether an entry of the outbox names a content."""
        return digest in self._named

    def received(self) -> dict[str, int]:
        """Return the contents that did not come from here, and how much of each there is."""
        return super().received() if "contents" in self.__dict__ else {}

    def forget(self, digests: Iterable[str]) -> None:
        """Throw contents away."""
        if "contents" in self.__dict__:
            super().forget(digests)

    def close(self) -> None:
        """Let go what was made for contents."""
        if "_database" in self.__dict__:
            self._database.close()

    def _owed(self) -> set[str]:
        payloads = (i.payload for i in self._outbox.values() if isinstance(i, Result))
        return {payload.digest for payload in payloads if payload is not None}

    def _without_early_ends(self) -> Iterable[int]:
        """Return the outbox without ends of tasks before which a content is under way."""
        waited_for: set[AssignmentId] = set()
        for seq, item in self._outbox.items():
            if isinstance(item, Result) and item.payload is not None:
                waited_for.add(item.assignment_id)
            if not (isinstance(item, TaskEnded) and item.assignment_id in waited_for):
                yield seq

    def _enqueue(self, write: Enqueue) -> None:
        payload = write.result.payload
        if payload is not None:
            with self._database.transaction():
                self.contents.put(payload, write.body)
            self._named.add(payload.digest)
        self._put(write.result)

    def _put(self, item: Result | TaskEnded) -> None:
        self._last_seq += 1
        self._outbox[self._last_seq] = item

    def _end(self, write: EndTask) -> None:
        self._ended.add(write.ended.assignment_id)
        self._put(write.ended)

    def _forget(self, write: Acknowledge) -> None:
        for seq in write.seqs:
            self._outbox.pop(seq, None)

    def _drop_one(self) -> bool:
        """Let the oldest result that cannot be on its way be part of a record; False without one.

        Two results make one record of two: only then the outbox has become shorter.
        """
        waiting = islice(self._outbox.items(), MAX_IN_FLIGHT, None)
        found = next(((s, i) for s, i in waiting if isinstance(i, Result)), None)
        if found is None:
            return False
        self._lose(*found, FULL, self.deliverable()[-1].seq)
        return True

    def _keep_here(self, write: Retract) -> None:
        for seq, item in tuple(self._outbox.items()):
            mine = isinstance(item, Result) and item.assignment_id == write.assignment_id
            if isinstance(item, TaskEnded) and self._wordy(item, write):
                self._outbox[seq] = write.without_words(item)
            if isinstance(item, Result) and mine and write.forbids(item, {}):
                self._lose(seq, item, write.reason, self._sent_seq)
                self.retracted_results += 1

    def _wordy(self, item: Result | Losses | TaskEnded, write: Retract) -> bool:
        mine = isinstance(item, TaskEnded) and item.assignment_id == write.assignment_id
        return isinstance(item, TaskEnded) and mine and write.without_words(item) != item

    def _lose(self, seq: int, result: Result, reason: str, through_seq: int) -> None:
        """Put a result's iteration in a record that cannot be on its way."""
        at = self._records.get((result.assignment_id, reason), 0)
        before = self._outbox.get(at)
        has_room = isinstance(before, Losses) and len(before.iterations) < MAX_RUNS
        if isinstance(before, Losses) and has_room and at > through_seq:
            runs = joined((*before.iterations, (result.iteration, result.iteration)))
            self._outbox[at] = replace(before, iterations=runs)
            del self._outbox[seq]
            return
        if seq <= through_seq:  # it may have been sent: an acknowledgement is of the result
            del self._outbox[seq]
            self._last_seq = seq = self._last_seq + 1
        self._records[result.assignment_id, reason] = seq
        self._outbox[seq] = Losses(
            assignment_id=result.assignment_id,
            vehicle_id=result.vehicle_id,
            epoch=result.epoch,
            iterations=((result.iteration, result.iteration),),
            reason=reason,
        )


def _nothing(write: Write) -> None:
    """What only a start or an audit would read: a simulated vehicle has neither."""
