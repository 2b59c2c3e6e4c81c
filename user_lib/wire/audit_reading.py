"""Read an audit log while it is written, and check that nothing in it was changed or removed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from user_lib.contract.errors import ConfigError
from user_lib.wire.audit_entry import GENESIS, Entry, Line, parse_line
from user_lib.wire.audit_log import CURRENT, TAIL_MISSING, files_of

__all__ = ["USUAL", "Checked", "check", "find_logs", "read"]

USUAL = (
    Path("/var/lib/oodida-agent"),
    Path("/var/lib/oodida-cloud"),
    Path("~/.local/state/oodida"),
)
"""The packaged services', and that of a cloud which nobody told where its ledger shall be."""
_ROTATED = re.compile(r"entries \d+ to (?P<last>\d+) .*hash is (?P<chain>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found: the entries there are, the newest one's hash, and what is wrong."""

    entries: int
    first: int
    last: int
    chain: str
    problems: tuple[str, ...]
    noted_at: int | None
    """The entry that has the hash that was noted; None when none has."""


def find_logs(given: Path | None) -> tuple[Path, ...]:
    """Return the directories of logs: the one given, those inside it, or all of this machine.

    Raises: ConfigError, saying where was looked, or what to do about one that may not be read.
    """
    places = (given,) if given is not None else tuple(place.expanduser() for place in USUAL)
    try:
        found = tuple(log for place in places for log in _logs_in(place))
    except PermissionError as error:
        raise ConfigError(
            f"{error.filename} may be read by its service and by root alone; use sudo, or name "
            "the directory of another log"
        ) from None
    if found:
        return found
    looked = ", ".join(map(str, places))
    raise ConfigError(
        f"no audit log in {looked}; name the agent's state_dir, or the directory of the ledger"
    )


def _logs_in(place: Path) -> tuple[Path, ...]:
    if (place / CURRENT).exists():
        return (place,)
    inside = (place / "audit", *sorted(place.glob("*.audit")))
    return tuple(log for log in inside if (log / CURRENT).exists())


def read(directory: Path) -> Iterator[Entry]:
    """Yield all entries, the oldest first; lines that are none are passed over (see `check`)."""
    for _, _, line in _lines(directory):
        if line is not None:
            yield line.entry


def check(directory: Path, noted: str = "") -> Checked:
    """Follow the chain from the oldest entry kept to the newest; look for a hash noted earlier."""
    entries = first = number = 0
    chain: str | None = None
    removed: dict[int, str] = {}
    start: Line | None = None
    problems: list[str] = []
    noted_at = None
    for path, at, line in _lines(directory):
        where = f"{path.name}, line {at}"
        if line is None:
            problems.append(f"{where}: is no entry of an audit log")
            continue
        if chain is None:
            first, start = line.entry.number, line
        else:
            problems += _breaks(line, chain, number, where)
        entries, number, chain = entries + 1, line.entry.number, line.chain
        if line.entry.event == TAIL_MISSING:
            problems.append(f"{where}: {line.entry.detail}")
        gone = _ROTATED.search(line.entry.detail) if line.entry.event == "rotated" else None
        if gone is not None:
            removed[int(gone["last"])] = gone["chain"]
        if noted and noted in (line.chain, removed.get(number)):
            noted_at = number
    if start is not None:
        problems += _beginning(start, removed)
    return Checked(entries, first, number, chain or GENESIS, tuple(problems), noted_at)


def _breaks(line: Line, chain: str, number: int, where: str) -> list[str]:
    found = []
    if line.entry.number != number + 1:
        found.append(f"{where}: entry {line.entry.number} follows entry {number}")
    if not line.follows(chain):
        found.append(f"{where}: entry {line.entry.number} is not chained to the one before")
    return found


def _beginning(start: Line, removed: dict[int, str]) -> list[str]:
    """Return what is wrong with the oldest entry kept: the log says what was before, or should."""
    number = start.entry.number
    before = GENESIS if number == 1 else removed.get(number - 1)
    if before is None:
        return [f"entries 1 to {number - 1} are missing, and no entry says that they were rotated"]
    return [] if start.follows(before) else [f"entry {number}, the oldest, was changed"]


def _lines(directory: Path) -> Iterator[tuple[Path, int, Line | None]]:
    for path in files_of(directory):
        try:
            file = path.open("rb")
        except FileNotFoundError:  # rotated away since the files were listed
            continue
        with file:
            for at, line in enumerate(file, 1):
                if line.endswith(b"\n"):  # else it is being written
                    yield path, at, parse_line(line)
