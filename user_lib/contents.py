"""What is too large for a message: given to the cloud, and pulled from it, chunk by chunk.

A question that got no answer is asked again (`Connection`), so a transfer that the network cuts off
goes on with the chunk that is missing. What came is believed when its hash is its name, which a
vehicle has signed.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable

from msgspec.structs import replace

from user_lib.connection import Connection
from user_lib.contract.assignment import Assignment, Json
from user_lib.contract.content import (
    CHUNK_BYTES,
    INLINE_BYTES,
    Content,
    ResultBody,
    content_of,
    pack,
    unpack,
    unpack_body,
)
from user_lib.contract.errors import ProtocolError, Rejected
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import (
    Chunk,
    ContentHeld,
    Event,
    Group,
    PutChunk,
    ReadChunk,
    Result,
    RoundClosed,
)

__all__ = ["Contents", "give", "outsourced"]

_log = logging.getLogger(__name__)

REMEMBERED = 4
"""Values kept in memory, so that looking at one twice does not pull it twice."""


def outsourced(spec: Assignment) -> tuple[Assignment, tuple[bytes, ...]]:
    """Return an assignment that names its large params, and the bytes that it names."""
    bodies = []
    for key in ("onboard", "offboard"):
        params = pack(getattr(spec, f"{key}_params"))
        if len(params) > INLINE_BYTES:
            bodies.append(params)
            changes = {f"{key}_params": {}, f"{key}_content": content_of(params)}
            spec = replace(spec, **changes)
    return spec, tuple(bodies)


def give(connection: Connection, data: bytes) -> None:
    """Give the cloud a content, from the chunk on that it does not have yet.

    Raises: Rejected, when it is too large or there is no room; LinkError.
    """
    content = content_of(data)
    have = connection.ask(PutChunk(content=content), ContentHeld).have
    while have < content.size:
        part = data[have : have + CHUNK_BYTES]
        held = connection.ask(PutChunk(content=content, offset=have, data=part), ContentHeld)
        if held.have <= have:
            raise ProtocolError(f"the cloud lost what it had of a content: {held.have} of {have}")
        have = held.have


class Contents:
    """The contents of one assignment's results and rounds."""

    def __init__(self, connection: Connection, assignment_id: AssignmentId) -> None:
        self._connection, self._assignment_id = connection, assignment_id
        self._loaded: OrderedDict[str, object] = OrderedDict()

    def body(self, content: Content) -> ResultBody:
        """Return the body of a result.

        Raises: Rejected, when the cloud does not have it (any more); ProtocolError, when what came
                is something else; LinkError.
        """
        body = self._load(content, unpack_body)
        if not isinstance(body, ResultBody):
            raise ProtocolError(f"content {content.digest[:8]} is no result")
        return body

    def value(self, content: Content) -> Json:
        """Return the value that a content holds. Raises: as `body`."""
        return self._load(content, unpack)

    def whole(self, event: Event) -> Event:
        """Return an event with its values in it; those that cannot be had any more stay out."""
        item = event.item
        try:
            if isinstance(item, Result):
                return replace(event, item=self.whole_result(item))
            if isinstance(item, RoundClosed):
                groups = tuple(self.whole_group(group) for group in item.groups)
                return replace(event, item=replace(item, groups=groups))
        except Rejected as error:
            _log.warning("event %d without its value: %s", event.seq, error)
        return event

    def whole_result(self, result: Result) -> Result:
        """Return a result with its value in it. Raises: as `body`."""
        if result.payload is None:
            return result
        body = self.body(result.payload)
        return replace(result, value=body.value, partial=body.partial)

    def whole_group(self, group: Group) -> Group:
        """Return a group with its value in it; one that failed has none. Raises: as `body`."""
        if group.error:
            return replace(group, value=None, payload=None)
        return group if group.payload is None else replace(group, value=self.value(group.payload))

    def _load(self, content: Content, parse: Callable[[bytes], object]) -> object:
        if content.digest in self._loaded:
            self._loaded.move_to_end(content.digest)
        else:
            self._loaded[content.digest] = parse(self._pull(content))
            if len(self._loaded) > REMEMBERED:
                self._loaded.popitem(last=False)
        return self._loaded[content.digest]

    def _pull(self, content: Content) -> bytes:
        data = bytearray()
        while len(data) < content.size:
            ask = ReadChunk(
                assignment_id=self._assignment_id, digest=content.digest, offset=len(data)
            )
            chunk = self._connection.ask(ask, Chunk)
            if not chunk.data or len(chunk.data) > content.size - len(data):
                raise ProtocolError(f"content {content.digest[:8]} came in chunks of another size")
            data += chunk.data
        whole = bytes(data)
        if content_of(whole) != content:
            raise ProtocolError(
                f"what the cloud gave as content {content.digest[:8]} is something else: its hash "
                "is not the one that was named"
            )
        return whole
