"""Contents as the cloud handles them: who may give and get what, and where it is kept.

Every message is authorised by itself: a vehicle gives what a result of a task of its own names, and
gets what a task of its own was given; an analyst gets what own assignments name. All chunks of a
tick are on disk before the next ones are asked for.
"""

import logging
import shutil
from collections.abc import Iterator

from cloud.complaints import Complaints
from cloud.config import Config
from cloud.contents.pulls import Offer, Pulls
from cloud.contents.serving import Serving
from cloud.contents.uploads import Uploads
from cloud.ledger import AssignmentRow, Ledger
from cloud.ledger.contents import FOR_VEHICLES
from cloud.mail import Mail
from user_lib.contract.clock import SECOND, Clock
from user_lib.contract.content import Content, megabytes
from user_lib.contract.errors import Rejected
from user_lib.contract.ids import AssignmentId, UserId, VehicleId
from user_lib.contract.messages import (
    Chunk,
    ContentHeld,
    Fetch,
    Losses,
    NoContent,
    PutChunk,
    ReadChunk,
    Result,
)

__all__ = ["ContentDesk"]

LOG = logging.getLogger(__name__)

SWEEP_NS = 30 * SECOND
KEPT_UNNAMED_NS = 3600 * SECOND
"""How long an analyst may take from giving a content to naming it."""
SWEPT_AT_ONCE = 8


class ContentDesk:
    """Of the loop's thread; what it forgets with a restart, its peers repeat."""

    def __init__(
        self, config: Config, ledger: Ledger, mail: Mail, clock: Clock, complaints: Complaints
    ) -> None:
        self._ledger, self._rows, self._mail = ledger, ledger.contents, mail
        self._clock, self._complaints = clock, complaints
        self._limits = config.contents
        self._pulls, self._serving, self._uploads = Pulls(), Serving(), Uploads(ledger.contents)
        self._unnamed: dict[str, int] = {}
        """Since when no assignment names it, monotonic ns."""
        self._sweep_ns = clock.monotonic_ns() + SWEEP_NS
        self.received_bytes = self.sent_bytes = self.damaged = 0

    @property
    def largest_bytes(self) -> int:
        """The largest content that is taken."""
        return int(self._limits.largest_mb * 1e6)

    @property
    def has_more(self) -> bool:
        """Whether `turn` could go on at once."""
        return self._serving.can_give

    # --- results ---------------------------------------------------------------------------------

    def lacks(self, vehicle: VehicleId, seq: int, result: Result) -> bool:
        """Whether a result has to wait for its content, which is then pulled."""
        content = result.payload
        if content is None:
            return False
        row = self._ledger.find(result.assignment_id)
        if row is None or self._needs_nothing(row, vehicle, content, result):
            return False
        if content in self._pulls or self._begins(row, vehicle, content):
            have = min(self._rows.have(content.digest), content.size)
            self._pulls.offer(content, Offer(vehicle, seq, result), have)
        return True

    def take(self, vehicle: VehicleId, chunk: Chunk) -> list[Offer]:
        """Keep a chunk that was asked for; return the results that have their content by that."""
        now_ns = self._clock.monotonic_ns()
        moved = self._pulls.arrived(vehicle, chunk, now_ns)
        if moved is None:
            return []
        self._rows.append(moved.content, chunk.offset, chunk.data)
        self.received_bytes += len(chunk.data)
        if not moved.whole:
            return []
        if self._rows.seal(moved.content):
            return self._pulls.done(chunk.digest)
        self.damaged += 1
        self._complaints.add(
            "damaged content", "vehicle %s sent other bytes than its result names", vehicle
        )
        self._rows.begin(moved.content)
        self._pulls.damaged(chunk.digest, now_ns)
        return []

    def retracted(self, losses: Losses) -> None:
        """A vehicle keeps results to itself, perhaps amid their contents: pull them no more."""
        row = self._ledger.find(losses.assignment_id)
        for content in self._pulls.retracted(losses):
            if row is not None:
                self._rows.no_longer_coming(row.row, content)

    def progress(self, assignment_id: AssignmentId) -> dict[VehicleId, str]:
        """Say how far the contents of an assignment's results are, by vehicle."""
        return self._pulls.progress(assignment_id)

    # --- vehicles --------------------------------------------------------------------------------

    def fetch(self, vehicle: VehicleId, fetch: Fetch) -> None:
        """A vehicle asks for a chunk of what one of its tasks was given."""
        row = self._ledger.find(fetch.assignment_id)
        members = self._ledger.members
        if (
            row is not None
            and members.is_member(row.row, vehicle)
            and self._rows.is_named(row.row, fetch.digest, FOR_VEHICLES)
        ):
            self._serving.ask(vehicle, fetch)
            return
        self._complaints.add(
            "unasked content", "vehicle %s asks for a content that no task of it names", vehicle
        )
        self._mail.to_vehicle(vehicle, _none(fetch))

    def lost(self, vehicle: VehicleId) -> None:
        """A vehicle went offline."""
        self._pulls.lost(vehicle)
        self._serving.lost(vehicle)

    def turn(self) -> None:
        """Ask vehicles for what is due, give them what they asked for, sweep now and then."""
        now_ns = self._clock.monotonic_ns()
        for vehicle, ask in self._pulls.due(now_ns):
            self._mail.to_vehicle(vehicle, ask)
        for vehicle, fetch in self._serving.due(now_ns):
            data = self._rows.chunk(fetch.digest, fetch.offset)
            if data is None:
                self._mail.to_vehicle(vehicle, _none(fetch))
                continue
            self.sent_bytes += len(data)
            chunk = Chunk(digest=fetch.digest, offset=fetch.offset, data=data)
            self._mail.to_vehicle(vehicle, chunk)
        if now_ns >= self._sweep_ns:
            self._sweep_ns = now_ns + SWEEP_NS
            self._sweep(now_ns)

    # --- analysts --------------------------------------------------------------------------------

    def put(self, user: UserId, ask: PutChunk) -> ContentHeld:
        """Take the next chunk of an analyst's content.

        Raises: Rejected, when it is too large or there is no room.
        """
        content = ask.content
        if content.size > self.largest_bytes:
            raise Rejected(
                f"it has {megabytes(content.size)}; at most {megabytes(self.largest_bytes)} are "
                "taken (contents.largest_mb in cloud.yaml)",
                reason="content_too_large",
            )
        known = self._rows.have(content.digest) > 0
        if not known and (why := self._no_room(content)):
            raise Rejected(f"there is no room for {megabytes(content.size)}: {why}", reason="full")
        self._unnamed[content.digest] = self._clock.monotonic_ns()
        self.received_bytes += len(ask.data)
        have = self._uploads.put(user, content, ask.offset, ask.data)
        return ContentHeld(digest=content.digest, have=have)

    def read(self, row: AssignmentRow, ask: ReadChunk) -> Chunk:
        """Return a chunk of what an assignment names; whose it is has been checked.

        Raises: Rejected.
        """
        data = None
        if self._rows.is_named(row.row, ask.digest):
            data = self._rows.chunk(ask.digest, ask.offset)
        if data is None:
            raise Rejected(
                f"the cloud has no content {ask.digest[:8]} of assignment {row.assignment_id} at "
                f"{ask.offset}: it was too large to be taken, or nobody needs it any more",
                reason="unknown_content",
            )
        self.sent_bytes += len(data)
        return Chunk(digest=ask.digest, offset=ask.offset, data=data)

    def check_given(self, user: UserId, content: Content | None, path: str) -> None:
        """Refuse an assignment that names what its analyst has not given.

        Raises: Rejected.
        """
        if content is None or (
            self._rows.is_whole(content) and self._rows.is_own(content.digest, user)
        ):
            return
        raise Rejected(
            f"the cloud has no content {content.digest[:8]} of yours; submit the assignment with "
            f"{path} in full",
            reason="unknown_content",
            path=path,
        )

    # --- parts -----------------------------------------------------------------------------------

    def stats(self) -> Iterator[tuple[str, float]]:
        """Yield the counters by name."""
        yield "received_bytes", self.received_bytes
        yield "sent_bytes", self.sent_bytes
        yield "damaged", self.damaged

    @property
    def under_way(self) -> tuple[int, int]:
        """How many contents are pulled, and how many vehicles wait to be served."""
        return len(self._pulls), self._serving.waiting

    def _needs_nothing(
        self, row: AssignmentRow, vehicle: VehicleId, content: Content, result: Result
    ) -> bool:
        """Whether a result is a stranger's, a repeat, too large, or has its content here."""
        found = self._rows.size(content.digest)
        return (
            not self._ledger.members.is_member(row.row, vehicle)
            or content.size > self.largest_bytes
            or found is not None
            or self._ledger.events.has_result(row, vehicle, result)
        )

    def _begins(self, row: AssignmentRow, vehicle: VehicleId, content: Content) -> bool:
        """Make room for a content; False, and somebody is told, when there is none."""
        if self._rows.have(content.digest) == 0 and (why := self._no_room(content)):
            self._complaints.add(
                "no room for content",
                "a result of %s with %s waits on its vehicle: %s",
                vehicle,
                megabytes(content.size),
                why,
            )
            return False
        self._rows.begin(content)
        self._rows.refer(row.row, content, "incoming")
        return True

    def _no_room(self, content: Content) -> str:
        """Say why a content cannot be kept; empty when it can, if need be in another's place."""
        most = int(self._limits.store_mb * 1e6)
        if self._rows.bytes_promised() + content.size > most:
            self._rows.forget(set(self._rows.unnamed()) - {content.digest})
        if self._rows.bytes_promised() + content.size > most:
            return f"contents.store_mb allows {megabytes(most)} in all, which named contents fill"
        free = shutil.disk_usage(self._ledger.path.parent).free
        if free - content.size < self._limits.reserve_mb * 1e6:
            return (
                f"the ledger's disk has {megabytes(free)} left, of which contents.reserve_mb are "
                "kept for the rest"
            )
        return ""

    def _sweep(self, now_ns: int) -> None:
        """Forget some of what no assignment has named for long."""
        unnamed = self._rows.unnamed()
        self._unnamed = {digest: self._unnamed.get(digest, now_ns) for digest in unnamed}
        old = [d for d, since in self._unnamed.items() if now_ns - since >= KEPT_UNNAMED_NS]
        self._rows.forget(old[:SWEPT_AT_ONCE])


def _none(fetch: Fetch) -> NoContent:
    return NoContent(
        digest=fetch.digest, detail=f"the cloud has no such content for {fetch.assignment_id}"
    )
