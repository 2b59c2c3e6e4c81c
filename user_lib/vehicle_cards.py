"""Which keys a vehicle signs with, as far as this analyst knows.

Pinned cards (``keys: vehicles:``) count and nothing else. Without any, the first card that the
cloud tells of a vehicle is kept and only that one counts from then on: a cloud that was honest once
cannot put another vehicle in its place later.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias

from user_lib.contract.card import Card
from user_lib.contract.errors import ConfigError
from user_lib.contract.ids import VehicleId
from user_lib.wire.enrolment import Enrolment
from user_lib.wire.keyring import Keyring

__all__ = ["Origin", "VehicleCards"]

Origin: TypeAlias = Literal["pinned", "first use", "unknown"]

log = logging.getLogger(__name__)


class VehicleCards:
    """The cards of vehicles; ``pinned`` and ``known`` are directories.

    Raises: ConfigError, when the pinned cards cannot be read.
    """

    def __init__(self, pinned: Path | None, known: Path | None) -> None:
        self._pinned = None if pinned is None else Keyring(pinned, "vehicle")
        self._known_dir = known
        self._known: dict[VehicleId, tuple[Card, ...]] = {}
        if known is not None and known.is_dir():
            kept = Keyring(known, "vehicle")
            self._known = {card.name: kept.named(card.name) for card in kept.cards}

    def of(self, vehicle_id: VehicleId) -> tuple[Card, ...]:
        """Return the cards that a vehicle's signature may be of."""
        if self._pinned is not None:
            self._pinned.refresh()
            return self._pinned.named(vehicle_id)
        return self._known.get(vehicle_id, ())

    def origin(self, vehicle_id: VehicleId) -> Origin:
        """Say why these cards are believed."""
        if not self.of(vehicle_id):
            return "unknown"
        return "first use" if self._pinned is None else "pinned"

    def hear(self, cards: Iterable[Card]) -> None:
        """Take in what a cloud says: it counts for vehicles that were never heard of, if at all."""
        if self._pinned is not None:
            return
        new = [c for c in cards if c.role == "vehicle" and not self._known.get(c.name)]
        for card in new:
            self._known[card.name] = (*self._known.get(card.name, ()), card)
        if new and self._known_dir is not None:
            _keep(new, self._known_dir)


def _keep(cards: Iterable[Card], directory: Path) -> None:
    """Keep cards for later; one that cannot be kept counts for now, and is told of."""
    try:
        enrolment = Enrolment(directory)
    except ConfigError as error:
        log.warning("the keys of new vehicles are trusted for now only: %s", error)
        return
    for card in cards:
        try:
            enrolment.add(card)
        except (ConfigError, OSError) as error:
            log.warning("the key of vehicle %s is trusted for now only: %s", card.name, error)
