"""A directory of cards: whom one side lets in or trusts. It is read again when it changes.

``NAME.pub`` files in the directory count; what is in its ``revoked/`` does not, and a key that is
there is not taken even if a copy of its card is elsewhere. A file that is no card is told of and
skipped: one mistake does not lock everybody out. Whose card that may be is asked by `doubt`.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from user_lib.contract.card import Card, Role
from user_lib.contract.clock import MS, SECOND, Clock, SystemClock
from user_lib.contract.errors import ConfigError
from user_lib.wire.keys import load_card

__all__ = ["REVOKED", "Keyring", "cards_in"]

log = logging.getLogger(__name__)

POLL_NS = 250 * MS
REVOKED = "revoked"
"""Within a directory of cards, those that are barred."""
_SETTLED_NS = 2 * SECOND
"""A directory that changed less long ago may change again within the same stamp."""


@dataclass(frozen=True)
class _File:
    """A card as it was read, and the stamps of its file then."""

    stamps: tuple[int, int, int]
    card: Card | None


@dataclass(frozen=True)
class _Snapshot:
    """What the directory held; replaced as a whole, so that other threads read it freely."""

    by_curve: dict[str, Card] = field(default_factory=dict)
    by_name: dict[str, tuple[Card, ...]] = field(default_factory=dict)
    unreadable: tuple[Path, ...] = ()
    revoked: frozenset[str] = frozenset()


class Keyring:
    """The cards of a directory. `find` and `named` may be called from any thread.

    Raises: ConfigError, when the directory cannot be read at the start.
    """

    def __init__(self, directory: Path, *roles: Role, clock: Clock | None = None) -> None:
        """``roles``: whose cards count here; by default all."""
        self.directory = directory
        self._roles, self._clock = roles, clock or SystemClock()
        self._lock = threading.Lock()
        self._files: dict[str, _File] = {}
        self._snapshot = _Snapshot()
        self._stamp: tuple[int, ...] = ()
        self._looked_ns = self._clock.monotonic_ns()
        self.version = 0
        """Rises with every change."""
        try:
            self._read()
        except OSError as error:
            raise ConfigError(
                f"{directory}: cannot be read: {error.strerror}; `oodida keys enrol CARD --into "
                f"{directory}` makes it"
            ) from None

    def find(self, curve: str) -> Card | None:
        """Return the card of a link key."""
        return self._snapshot.by_curve.get(curve)

    def named(self, name: str) -> tuple[Card, ...]:
        """Return the cards of a name: more than one while its keys are rotated."""
        return self._snapshot.by_name.get(name, ())

    def barred(self, name: str) -> bool:
        """Whether a key of that name was revoked here."""
        return name in self._snapshot.revoked

    def doubt(self, name: str) -> Path | None:
        """Return the file that may be the card of a name, were it readable; None without doubt.

        Without a card, a name is shut out for good only if that is known: a power cut or a failing
        disk leaves files that are no cards. Of a name with a revoked key, its own files count.
        """
        held = self._snapshot
        if name in held.by_name:
            return None
        known = self.barred(name)
        own = (p for p in held.unreadable if not known or f"{p.stem}-".startswith(f"{name}-"))
        return next(own, None)

    @property
    def unreadable(self) -> tuple[Path, ...]:
        """The files that are no cards, or cannot be read."""
        return self._snapshot.unreadable

    @property
    def cards(self) -> tuple[Card, ...]:
        """All cards."""
        return tuple(self._snapshot.by_curve.values())

    def refresh(self, *, within_ns: int = POLL_NS) -> bool:
        """Look whether the directory changed, unless that was just done; True when it did.

        Who meets an unknown key looks sooner (``within_ns``): it may just have been enrolled. A
        directory that can no longer be read leaves everything as it was, and is told of.
        """
        with self._lock:
            now_ns = self._clock.monotonic_ns()
            if now_ns - self._looked_ns < within_ns:
                return False
            self._looked_ns = now_ns
            before = self._snapshot
            try:
                if self._stamps() != self._stamp:
                    self._read()
            except OSError as error:
                log.error("%s: cannot be read: %s; keys stay as they were", self.directory, error)
            return self._snapshot is not before

    def _stamps(self) -> tuple[int, ...]:
        stamps = [self.directory.stat().st_mtime_ns]
        revoked = self.directory / REVOKED
        if revoked.is_dir():
            stamps.append(revoked.stat().st_mtime_ns)
        for path in self._snapshot.unreadable:  # it may be written over in place
            with contextlib.suppress(FileNotFoundError):
                stamps.append(path.stat().st_mtime_ns)
        unsettled = self._clock.unix_ns() - max(stamps) < _SETTLED_NS
        return (*stamps, self._looked_ns) if unsettled else tuple(stamps)

    def _read(self) -> None:
        stamp = self._stamps()
        files = dict(self._scan(self.directory))
        revoked = self.directory / REVOKED
        barred = dict(self._scan(revoked)) if revoked.is_dir() else {}
        self._stamp = stamp
        if self.version and {**files, **barred} == self._files:
            return
        self._files = {**files, **barred}
        gone = {file.card.curve for file in barred.values() if file.card is not None}
        held = (f.card for f in files.values() if f.card is not None and f.card.curve not in gone)
        fresh = _snapshot(c for c in held if not self._roles or c.role in self._roles)
        self._snapshot = replace(
            fresh,
            unreadable=tuple(Path(path) for path, file in files.items() if file.card is None),
            revoked=frozenset(f.card.name for f in barred.values() if f.card is not None),
        )
        self.version += 1

    def _scan(self, directory: Path) -> Iterable[tuple[str, _File]]:
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if not entry.name.endswith(".pub") or entry.name.startswith("."):
                    continue
                status = entry.stat()
                stamps = (status.st_ino, status.st_mtime_ns, status.st_size)
                known = self._files.get(entry.path)
                if known is not None and known.stamps == stamps:
                    yield entry.path, known
                else:
                    yield entry.path, _File(stamps, _card_or_none(Path(entry.path)))


def cards_in(directory: Path) -> list[tuple[Path, Card]]:
    """Return every card in a directory, and where it is; none where there is no directory."""
    found = []
    for path in sorted(directory.glob("*.pub")):
        card = _card_or_none(path)
        if card is not None:
            found.append((path, card))
    return found


def _card_or_none(path: Path) -> Card | None:
    try:
        return load_card(path)
    except ConfigError as error:
        log.warning("skipped, since it is no card: %s", error)
        return None


def _snapshot(cards: Iterable[Card]) -> _Snapshot:
    by_curve: dict[str, Card] = {}
    by_name: dict[str, tuple[Card, ...]] = {}
    for card in cards:
        others = by_name.get(card.name, ())
        if card.curve in by_curve or any(o.role != card.role for o in others):
            log.warning("skipped a card of %s: its key or name is another's", card.name)
            continue
        by_curve[card.curve] = card
        by_name[card.name] = (*others, card)
    return _Snapshot(by_curve, by_name)
