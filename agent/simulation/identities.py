"""Who simulated vehicles are: a name and keys for each, all made from one identity's secret."""

import os
from dataclasses import dataclass
from pathlib import Path

from agent.config import AgentKeys
from user_lib.contract.errors import ConfigError
from user_lib.contract.ids import VehicleId
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import LinkKeys, card_text, load_keys, read_link_keys

__all__ = ["Identities", "name_of", "write_cards"]


def name_of(number: int) -> VehicleId:
    """Return the vehicle id of a simulated vehicle."""
    return f"sim-{number:05}"


@dataclass(frozen=True, eq=False)
class Identities:
    """What keyed vehicles share: the identity that theirs are made from, and whom they trust."""

    fleet: LinkKeys
    analysts: Keyring

    @classmethod
    def read(cls, keys: AgentKeys) -> "Identities":
        """Read what the files hold. Raises: ConfigError."""
        fleet = read_link_keys(Path(keys.own), Path(keys.cloud), "vehicle")
        return cls(fleet, Keyring(Path(keys.analysts), "analyst"))

    def keys_of(self, vehicle_id: VehicleId) -> LinkKeys:
        """Return a vehicle's own keys; the same each time."""
        return LinkKeys(self.fleet.own.derive(vehicle_id), self.fleet.cloud)


def write_cards(fleet_key: Path, vehicles: int, directory: Path) -> None:
    """Write the cards of so many vehicles, for a cloud to let them in; doing it twice is harmless.

    Raises: ConfigError.
    """
    own = load_keys(fleet_key, "vehicle")
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for number in range(vehicles):
            card = own.derive(name_of(number)).card
            path = directory / f"{card.name}.pub"
            part = directory / f".{path.name}.part"
            part.write_text(card_text(card))
            os.replace(part, path)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be written: {error.strerror}") from None
