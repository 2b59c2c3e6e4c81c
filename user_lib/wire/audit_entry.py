"""A line of an audit log: what was done, by whom, and the hash that chains it to the line before.

The chain: ``chain`` is the sha256 of the previous line's ``chain`` and of the line without its own.
So a line that was changed, removed or put in shows, and so does all that follows it. Whoever may
write the files can also write them anew as a whole: who fears that notes the newest hash elsewhere.
"""

import time

import msgspec

from user_lib.contract.clock import SECOND
from user_lib.contract.digest import sha256

__all__ = ["EVENTS", "GENESIS", "Entry", "Line", "Mark", "line_of", "parse_line", "stamp"]

GENESIS = "0" * 64
"""What the first line of a log is chained to."""
EVENTS = frozenset(
    (
        "started", "rules", "rules_kept", "trusted", "untrusted", "enrolled", "revoked",
        "submitted", "accepted", "refused", "held_back", "retracted", "sent", "cancelled", "ended",
        "code_armed", "code_refused", "code_rolled_back", "code_removed",
        "code_push", "code_rollback", "code_remove", "rotated", "cut_off", "tail_missing",
        "disk_back",
    )
)  # fmt: skip
"""Every event that a vehicle or the cloud puts in its log."""
_MARK = b',"chain":"'


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done; what does not apply is left out."""

    number: int = 0
    """Set by the log, from 1 without gaps."""
    at: str
    """The machine's wall clock, UTC."""
    event: str
    who: str = ""
    """The analyst, operator or vehicle whose doing it was."""
    job: str = ""
    vehicle: str = ""
    code: str = ""
    """sha256 of the custom module."""
    method: str = ""
    signals: tuple[str, ...] = ()
    rule: str = ""
    """The owner's rule that refused it."""
    reason: str = ""
    results: int = 0
    """How many results were made to be sent since the job began, came, or were kept here."""
    bytes: int = 0
    retracted: int = 0
    """How many of the results that were made to be sent rules kept here, up to this entry."""
    policy: str = ""
    """sha256 of the rules in force."""
    detail: str = ""


class Mark(msgspec.Struct, frozen=True):
    """The newest entry of a log; kept elsewhere, it shows that the log was shortened since."""

    number: int = 0
    chain: str = GENESIS


class Line(msgspec.Struct, frozen=True):
    """A line as it is in the file: the entry, its hash, and what was hashed."""

    entry: Entry
    chain: str
    body: bytes

    def follows(self, chain: str) -> bool:
        """Whether this line is chained to the one with that hash."""
        return self.chain == _hash(chain, self.body)


def stamp(unix_ns: int) -> str:
    """Return a time as entries have it.

    >>> stamp(1_800_000_000_250_000_000)
    '2027-01-15T08:00:00.250Z'
    """
    seconds, rest_ns = divmod(unix_ns, SECOND)
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    date = f"{year:04d}-{month:02d}-{day:02d}"
    return f"{date}T{hour:02d}:{minute:02d}:{second:02d}.{rest_ns // 1_000_000:03d}Z"


def line_of(entry: Entry, chain: str) -> tuple[bytes, str]:
    """Return an entry as a line that follows ``chain``, and the new hash."""
    body = msgspec.json.encode(entry)
    new = _hash(chain, body)
    return body[:-1] + _MARK + new.encode() + b'"}\n', new


def parse_line(line: bytes) -> Line | None:
    """Return what a line holds; None when it is no line of an audit log."""
    head, mark, tail = line.rstrip(b"\n").rpartition(_MARK)
    if not mark or not tail.endswith(b'"}') or len(tail) != len(GENESIS) + 2:
        return None
    body = head + b"}"
    try:
        entry = msgspec.json.decode(body, type=Entry)
        chain = tail[:-2].decode("ascii")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Line(entry, chain, body)


def _hash(chain: str, body: bytes) -> str:
    return sha256(chain.encode() + body).hex()
