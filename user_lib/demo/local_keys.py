"""Throw-away keys for a fleet on this machine: made when first needed, gone with their folder."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from user_lib.contract.card import Role
from user_lib.wire.enrolment import enrol
from user_lib.wire.keys import create_keys, load_keys, write_keys

__all__ = ["LocalKeys"]

_CLOUD = "cloud"


class LocalKeys:
    """The keys of a cloud, of vehicles that trust every analyst here, and of analysts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = folder / "own"
        self._authorized = folder / "authorized"
        self._analysts = folder / "analysts"
        for directory in (self._authorized, self._analysts):
            directory.mkdir(parents=True, exist_ok=True)
        self._make(_CLOUD, "cloud")

    def for_cloud(self) -> Mapping[str, str]:
        """Return ``keys:`` of the cloud's configuration."""
        return {"own": str(self._path(_CLOUD)), "authorized": str(self._authorized)}

    def for_vehicle(self, vehicle_id: str) -> Mapping[str, str]:
        """Return ``keys:`` of an agent's configuration."""
        return {**self._for_client(vehicle_id, "vehicle"), "analysts": str(self._analysts)}

    def for_user(self, user: str, role: Role = "analyst") -> Mapping[str, str]:
        """Return ``keys:`` of an analyst's configuration."""
        return self._for_client(user, role)

    def write_config(self, user: str, cloud: str) -> Path:
        """Write an ``analyst.yaml``; return its path, for ``OODIDA_CONFIG``."""
        path = self._folder / f"{user}.yaml"
        content = {"cloud": cloud, "keys": dict(self.for_user(user))}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    def _for_client(self, name: str, role: Role) -> dict[str, str]:
        card = self._path(_CLOUD).with_suffix(".pub")
        return {"own": str(self._make(name, role)), "cloud": str(card)}

    def _make(self, name: str, role: Role) -> Path:
        path = self._path(name)
        if not path.exists():
            write_keys(create_keys(name, role), self._own)
        card = load_keys(path, role).card
        if role != "cloud":
            enrol(card, self._authorized)
        if role == "analyst":
            enrol(card, self._analysts)
        return path

    def _path(self, name: str) -> Path:
        return self._own / f"{name}.key"
