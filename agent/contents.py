"""What tasks were given by name: pulled from the cloud, kept while it is wanted, lent out.

Of the main loop's thread. A content that nobody wants any more stays for a while: a vehicle that
was switched off in the middle of a transfer goes on where it was, once the round is told again.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.store import StateUnwritable, Store
from user_lib.contract.assignment import Json
from user_lib.contract.clock import SECOND
from user_lib.contract.content import Content, megabytes, unpack
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import Chunk, Fetch, NoContent, SendChunk
from user_lib.wire import transfer as pull
from user_lib.wire.transfer import Transfer

__all__ = ["Contents", "Wanted"]

log = logging.getLogger(__name__)

KEPT_UNWANTED_NS = 120 * SECOND
AT_ONCE = 4
"""Contents that are pulled at the same time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A content that a task needs."""

    assignment_id: AssignmentId
    content: Content


@dataclass(slots=True)
class _Pull:
    wanted: Wanted
    transfer: Transfer
    problem: str = ""


class Contents:
    """The vehicle's contents; ``store_bytes`` bounds what is kept of the cloud's."""

    def __init__(self, store: Store, store_bytes: int) -> None:
        self._store, self._store_bytes = store, store_bytes
        self._pulls: dict[str, _Pull] = {}
        self._here: dict[str, Content] = {}
        self._swept = False
        self._unwanted: dict[str, int] = {}
        """Since when nobody wants it, monotonic ns."""
        self._chunks: dict[str, list[Chunk]] = {}
        """What arrived in this turn."""
        self.received_bytes = self.sent_bytes = self.damaged = 0

    # --- what tasks want -------------------------------------------------------------------------

    def want(self, wanted: Iterable[Wanted], now_ns: int) -> None:
        """Take what is wanted as of now; the rest is given up."""
        by_digest = {w.content.digest: w for w in wanted}
        known = self._here.keys() | self._pulls.keys()
        if self._swept and by_digest.keys() == known and not self._unwanted:
            return
        self._swept = True
        for digest in [d for d in self._pulls if d not in by_digest]:
            del self._pulls[digest]
        self._here = {d: content for d, content in self._here.items() if d in by_digest}
        for digest, one in by_digest.items():
            if digest not in known:
                self._take_up(one)
        self._sweep(by_digest, now_ns)

    def missing(self, contents: Iterable[Content]) -> str:
        """Say how far contents are that are not here yet; empty when all are."""
        words = []
        for content in contents:
            if content.digest in self._here:
                continue
            under_way = self._pulls.get(content.digest)
            if under_way is None:
                words.append(f"content 0.0 of {megabytes(content.size)}")
            else:
                problem = f" ({under_way.problem})" if under_way.problem else ""
                words.append(f"{under_way.transfer}{problem}")
        return ", ".join(words)

    def load(self, content: Content) -> Json:
        """Return the value of a content that is here."""
        return unpack(self._store.contents.read(content.digest))

    # --- the link --------------------------------------------------------------------------------

    def hear(self, message: Chunk | NoContent, now_ns: int) -> None:
        """Take what the cloud sends; what was not asked for is ignored."""
        under_way = self._pulls.get(message.digest)
        if under_way is None:
            return
        if isinstance(message, NoContent):
            under_way.problem = message.detail
            under_way.transfer = pull.postponed(under_way.transfer, now_ns)
            return
        moved = pull.arrived(under_way.transfer, message.offset, len(message.data), now_ns)
        if moved is not under_way.transfer:
            under_way.transfer, under_way.problem = moved, ""
            self._chunks.setdefault(message.digest, []).append(message)

    def keep(self, now_ns: int) -> bool:
        """Put on disk what arrived; True when a content is whole by that."""
        chunks, self._chunks = self._chunks, {}
        news = False
        for digest, arrived in chunks.items():
            if digest in self._pulls:
                news = self._keep(self._pulls[digest], arrived, now_ns) or news
        return news

    def interrupted(self) -> None:
        """The connection is gone."""
        for under_way in self._pulls.values():
            under_way.transfer = pull.interrupted(under_way.transfer)

    def due(self, now_ns: int) -> Iterator[Fetch]:
        """Yield what to ask for now."""
        for under_way in self._admitted()[:AT_ONCE]:
            under_way.transfer, offsets = pull.poll(under_way.transfer, now_ns)
            wanted = under_way.wanted
            for offset in offsets:
                yield Fetch(
                    assignment_id=wanted.assignment_id,
                    digest=wanted.content.digest,
                    offset=offset,
                )

    def answer(self, ask: SendChunk) -> Chunk | None:
        """Return a chunk of a result's content; only what the outbox names is given."""
        if not self._store.owes(ask.digest):
            return None
        data = self._store.contents.chunk(ask.digest, ask.offset)
        return None if data is None else Chunk(digest=ask.digest, offset=ask.offset, data=data)

    def stats(self) -> dict[str, float]:
        """Return the counters by dotted name."""
        return {
            "content.received_mb": self.received_bytes / 1e6,
            "content.sent_mb": self.sent_bytes / 1e6,
            "content.damaged": self.damaged,
            "content.pulls": len(self._pulls),
        }

    # --- parts -----------------------------------------------------------------------------------

    def _admitted(self) -> list[_Pull]:
        """Return the pulls that there is room for, in the order in which they were wanted."""
        room = self._store_bytes - sum(content.size for content in self._here.values())
        admitted = []
        for under_way in self._pulls.values():
            room -= under_way.transfer.content.size
            if room >= 0:
                admitted.append(under_way)
            else:
                most = megabytes(self._store_bytes)
                under_way.problem = f"waits for room: contents.store_mb here is {most}"
        return admitted

    def _take_up(self, wanted: Wanted) -> None:
        content, rows = wanted.content, self._store.contents
        if rows.is_whole(content):
            self._here[content.digest] = content
            return
        under_way = _Pull(wanted, pull.begin(content, min(rows.have(content.digest), content.size)))
        self._pulls[content.digest] = under_way

    def _keep(self, under_way: _Pull, arrived: list[Chunk], now_ns: int) -> bool:
        content = under_way.wanted.content
        self.received_bytes += sum(len(chunk.data) for chunk in arrived)
        try:
            good = self._store.receive(content, arrived)
        except StateUnwritable as error:
            under_way.problem = str(error)
            have = self._store.contents.have(content.digest)
            under_way.transfer = pull.postponed(pull.begin(content, have), now_ns)
            return False
        if not good:
            self.damaged += 1
            under_way.problem = "what came was not what was named, it begins anew"
            log.warning("content %s: %s", content.digest[:8], under_way.problem)
            under_way.transfer = pull.damaged(under_way.transfer, now_ns)
        elif under_way.transfer.whole:
            del self._pulls[content.digest]
            self._here[content.digest] = content
            return True
        return False

    def _sweep(self, wanted: Mapping[str, Wanted], now_ns: int) -> None:
        """Forget what nobody wants: after a while, or as soon as its room is needed."""
        received = self._store.received()
        unwanted = [digest for digest in received if digest not in wanted]
        self._unwanted = {digest: self._unwanted.get(digest, now_ns) for digest in unwanted}
        need = sum(w.content.size for w in wanted.values())
        room = self._store_bytes - need - sum(received[digest] for digest in unwanted)
        gone = []
        for digest, since_ns in sorted(self._unwanted.items(), key=lambda item: item[1]):
            if room < 0 or now_ns - since_ns >= KEPT_UNWANTED_NS:
                gone.append(digest)
                room += received[digest]
        if not gone:
            return
        try:
            self._store.forget(gone)
        except StateUnwritable as error:
            log.warning("contents that nobody wants stay: %s", error)
            return
        for digest in gone:
            del self._unwanted[digest]
