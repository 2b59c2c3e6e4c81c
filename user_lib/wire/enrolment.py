"""Letting keys into a directory of cards, and shutting them out for good."""

from pathlib import Path

from user_lib.contract.card import Card
from user_lib.contract.errors import ConfigError
from user_lib.wire.keyring import REVOKED, cards_in
from user_lib.wire.keys import write_card

__all__ = ["Enrolment", "enrol", "revoke"]


class Enrolment:
    """Puts cards into a directory, which is read once however many there are.

    Raises: ConfigError, when the directory cannot be made or read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            revoked, held = cards_in(directory / REVOKED), cards_in(directory)
        except OSError as error:
            raise ConfigError(f"{directory}: is no directory of cards: {error.strerror}") from None
        self._revoked = {key: path for path, c in revoked for key in (c.curve, c.sign)}
        self._held = {card.curve: (path, card) for path, card in held}
        self._by_name: dict[str, tuple[Path, Card]] = {}
        for path, card in held:
            self._by_name.setdefault(card.name, (path, card))

    def add(self, card: Card) -> Path:
        """Put a card in; returns where. Doing it twice changes nothing.

        A second key of the same name and role goes beside the first: so keys are rotated.

        Raises: ConfigError, when the key was revoked there, is another's, or the name belongs to
                another role.
        """
        for key in (card.curve, card.sign):
            if key in self._revoked:
                raise ConfigError(_was_revoked(self._revoked[key], card))
        held = self._held.get(card.curve)
        if held is not None:
            return self._again(card, *held)
        namesake = self._by_name.get(card.name)
        if namesake is not None and namesake[1].role != card.role:
            where, other = namesake
            raise ConfigError(f"{where}: the name {card.name} is that of the {other.role} there")
        stem = card.name if namesake is None else f"{card.name}-{card.fingerprint}"
        path = self._directory / f"{stem}.pub"
        write_card(card, path)
        self._note(path, card)
        return path

    def _again(self, card: Card, path: Path, known: Card) -> Path:
        """Take a card whose key is there: nothing new, or trusted until another day."""
        if known == card:
            return path
        if (known.name, known.role, known.fingerprint) != (card.name, card.role, card.fingerprint):
            raise ConfigError(f"{path}: has this key for the {known.role} {known.name}")
        fresh = path.with_name(f".{path.name}")  # hidden, so that it appears whole
        fresh.unlink(missing_ok=True)
        write_card(card, fresh)
        fresh.replace(path)
        self._note(path, card)
        return path

    def _note(self, path: Path, card: Card) -> None:
        self._held[card.curve] = (path, card)
        self._by_name.setdefault(card.name, (path, card))


def enrol(card: Card, directory: Path) -> Path:
    """Put one card into a directory of cards; returns where.

    Raises: ConfigError, as `Enrolment`.
    """
    return Enrolment(directory).add(card)


def revoke(name_or_fingerprint: str, directory: Path) -> list[Card]:
    """Move the cards of a name, or one by its fingerprint, to ``revoked/``; returns them.

    Raises: ConfigError, when there is none, or they cannot be moved.
    """
    wanted = [
        (path, card)
        for path, card in cards_in(directory)
        if name_or_fingerprint in (card.name, card.fingerprint)
    ]
    if not wanted:
        raise ConfigError(
            f"{directory}: no card of {name_or_fingerprint!r}; `oodida keys list {directory}`"
        )
    barred = directory / REVOKED
    try:
        barred.mkdir(mode=0o755, exist_ok=True)
        for path, card in wanted:
            path.rename(barred / f"{card.name}-{card.fingerprint}.pub")
    except OSError as error:
        raise ConfigError(f"{barred}: cannot be written: {error.strerror}") from None
    return [card for _, card in wanted]


def _was_revoked(path: Path, card: Card) -> str:
    return (
        f"{path}: this key of {card.name} was revoked here, which is for good; whose it is makes "
        f"new ones (`oodida keys create {card.name} --role {card.role} --dir DIR`) and has their "
        "card enrolled"
    )
