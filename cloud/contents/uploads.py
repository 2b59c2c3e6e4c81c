"""What analysts give: the next chunk in order, and the whole only to whoever had all the bytes."""

from cloud.ledger.contents import Contents
from user_lib.contract.content import Content
from user_lib.contract.errors import Rejected
from user_lib.contract.ids import UserId

__all__ = ["Uploads"]

REMEMBERED = 256


class Uploads:
    """Knows the hash of a content is not to have it: each analyst gives all of it once."""

    def __init__(self, rows: Contents) -> None:
        self._rows = rows
        self._shown: dict[tuple[UserId, str], int] = {}
        """How much of a content that is here an analyst has shown to have."""

    def put(self, user: UserId, content: Content, offset: int, data: bytes) -> int:
        """Take the next chunk, an empty one to ask; return from where to go on.

        Raises: Rejected, when the bytes are not what they are called.
        """
        if self._rows.is_whole(content):
            return self._show(user, content, offset, data)
        have = self._rows.begin(content)
        if not data or not self._rows.append(content, offset, data):
            return have
        have += len(data)
        if have < content.size:
            return have
        if not self._rows.seal(content):
            raise Rejected(
                "the bytes that came are not the content that was named; give it again",
                reason="damaged",
            )
        self._rows.own(content, user)
        return have

    def _show(self, user: UserId, content: Content, offset: int, data: bytes) -> int:
        """Compare what is given with what is here."""
        if self._rows.is_own(content.digest, user):
            return content.size
        shown = self._shown.get((user, content.digest), 0)
        if not data or offset != shown:
            return shown
        if not self._rows.same(content, offset, data):
            raise Rejected("these bytes are not the content that was named", reason="damaged")
        shown += len(data)
        if shown == content.size:
            self._shown.pop((user, content.digest), None)
            self._rows.own(content, user)
            return shown
        while len(self._shown) >= REMEMBERED:
            del self._shown[next(iter(self._shown))]
        self._shown[user, content.digest] = shown
        return shown
