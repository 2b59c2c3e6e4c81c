"""Every error of the platform, split by who must act.

::

    OodidaError
    ├── AssignmentError      the analyst: an assignment that cannot be run as written
    │   ├── UnknownSignal        names a signal that the vehicle does not have
    │   ├── WindowTooLarge       asks for more history than the vehicle can hold
    │   └── ExpressionError      an expression that does not parse
    ├── CodeError            the analyst: a custom module that is refused before it runs
    ├── Rejected             the analyst: the cloud or a vehicle said no, with a typed reason
    ├── ConfigError          the engineer or operator: a configuration file
    ├── DatabaseError        the engineer: a CAN database (DBC, KCD, SYM) or a mapping
    ├── SourceError          the engineer: a CAN interface or a log that cannot be read
    ├── WindowOverwritten    nobody: samples were lost before they could be read; it is reported
    ├── SignatureError       nobody: something is not from whom it claims to be; it is not used
    ├── ProtocolError        the other end of the link: bytes that are not our protocol
    └── LinkError            the network: the other end does not answer
        └── LinkRefused          the analyst or operator: it answers, and refuses this key
"""

from collections.abc import Iterable, Sequence

__all__ = [
    "AssignmentError",
    "CodeError",
    "ConfigError",
    "DatabaseError",
    "ExpressionError",
    "LinkError",
    "LinkRefused",
    "OodidaError",
    "ProtocolError",
    "Rejected",
    "SignatureError",
    "SourceError",
    "UnknownSignal",
    "WindowOverwritten",
    "WindowTooLarge",
    "nearest",
]


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> tuple[str, ...]:
    """Return the known names closest to ``name``, best first; empty when none is close."""
    from difflib import get_close_matches  # seldom needed, and a vehicle's memory is small

    by_folded = {k.casefold(): k for k in known}
    close = get_close_matches(name.casefold(), list(by_folded), n=most, cutoff=0.6)
    return tuple(by_folded[c] for c in close)


def _did_you_mean(near: Sequence[str], otherwise: str) -> str:
    return f"did you mean {' or '.join(near)}?" if near else otherwise


class OodidaError(Exception):
    """Base of every error that the platform raises on purpose."""


class AssignmentError(OodidaError):
    """An assignment cannot be run as written.

    ``path`` is the key at fault (``window.samples``), ``near`` the valid names closest to a wrong
    one; both travel in a `Rejected` so that the analyst reads the same words wherever it failed.
    """

    def __init__(self, message: str, *, path: str = "", near: Sequence[str] = ()) -> None:
        self.path, self.near = path, tuple(near)
        super().__init__(f"{path}: {message}" if path else message)


class UnknownSignal(AssignmentError):
    """An assignment names a signal that no database of the vehicle, or ``where``, defines."""

    def __init__(
        self, signal: str, *, near: Sequence[str] = (), path: str = "signals", where: str = ""
    ) -> None:
        self.signal = signal
        lists = "`oodida signals` or fleet.signals() lists them"
        hint = _did_you_mean(near, f"there is none like it {where}" if where else lists)
        words = f"no signal {signal!r} {where or 'on this vehicle'}; {hint}"
        super().__init__(words, path=path, near=near)


class WindowTooLarge(AssignmentError):
    """A window or look-back is longer than the vehicle's history can hold."""


class ExpressionError(AssignmentError):
    """An expression is not in the small language that triggers and criteria are written in."""


class CodeError(OodidaError):
    """A custom module is refused before it runs: syntax, a missing function, a forbidden import."""

    def __init__(self, message: str, *, line: int | None = None) -> None:
        self.line = line
        super().__init__(f"line {line}: {message}" if line is not None else message)


class Rejected(OodidaError):
    """The cloud or a vehicle refused a request; ``reason`` is a stable word for programs."""

    def __init__(
        self, message: str, *, reason: str = "rejected", path: str = "", near: Sequence[str] = ()
    ) -> None:
        self.reason, self.path, self.near = reason, path, tuple(near)
        super().__init__(message)


class ConfigError(OodidaError):
    """A configuration file is wrong; the message names the file, the key and what is allowed."""


class DatabaseError(OodidaError):
    """A CAN database or VSS mapping cannot be used; the message names file, line and cause."""


class SourceError(OodidaError):
    """A CAN interface or a log cannot be opened or read."""


class WindowOverwritten(OodidaError):
    """Samples of a window were overwritten before they were read.

    ``oldest_ns`` is the time of the oldest sample that is still kept.
    """

    def __init__(self, wanted_ns: int, oldest_ns: int) -> None:
        self.wanted_ns, self.oldest_ns = wanted_ns, oldest_ns
        super().__init__(
            f"samples since {wanted_ns} ns were asked for, but the oldest kept is {oldest_ns} ns; "
            "give the history more memory or ask for a shorter window"
        )


class SignatureError(OodidaError):
    """Bytes are not signed by whom they claim to be from; they are not to be used."""


class ProtocolError(OodidaError):
    """Bytes from the other end are not a message of this protocol."""


class LinkError(OodidaError):
    """The other end of the link does not answer."""


class LinkRefused(LinkError):
    """The other end of the link answers, and refuses the connection for its keys."""
