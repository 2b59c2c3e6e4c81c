"""Where the cloud is and who asks: arguments, then the environment, then a file, then defaults.

The file is ``~/.config/oodida/analyst.yaml`` (``$XDG_CONFIG_HOME`` is respected)::

    cloud: tcp://127.0.0.1:5570
    keys: {own: ada.key, cloud: cloud.pub}
    timeout_s: 5

``OODIDA_CONFIG`` names another file. Paths in it are relative to it. The user is the name on the
keys; without keys (``insecure: true``, a cloud on this machine only) it may be given.
"""

import getpass
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from user_lib.contract.errors import ConfigError
from user_lib.contract.ids import is_name
from user_lib.wire.config import load_config
from user_lib.wire.keys import LinkKeys, read_link_keys
from user_lib.wire.socket import check_endpoint, check_trust

__all__ = ["DEFAULT_CLOUD", "Given", "KeyPaths", "Settings", "config_path", "load_settings"]

log = logging.getLogger(__name__)

DEFAULT_CLOUD = "tcp://127.0.0.1:5570"
DEFAULT_TIMEOUT_S = 5.0


class KeyPaths(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths of the keys that an analyst connects with; the first two are needed together."""

    own: Path | None = None
    """The secret file of the analyst's own keys."""
    cloud: Path | None = None
    """The cloud's card."""
    vehicles: Path | None = None
    """The directory of the vehicles' cards, for those that are not to be trusted on first use."""


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller or the command line gives, in place of environment and file."""

    cloud: str | None = None
    user: str | None = None
    timeout_s: float | None = None
    keys: KeyPaths = KeyPaths()
    insecure: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``analyst.yaml`` may hold."""

    cloud: str | None = None
    user: str | None = None
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    keys: KeyPaths = KeyPaths()
    insecure: bool = False


class Settings(msgspec.Struct, frozen=True):
    """How an analyst reaches the cloud."""

    cloud: str
    user: str
    timeout_s: float
    """How long a request may go unanswered before a LinkError."""
    keys: LinkKeys | None = None
    vehicles: Path | None = None
    """The directory of the vehicles' cards that are pinned."""
    known_vehicles: Path | None = None
    """Where the cards of vehicles are kept that are trusted on first use."""


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the analyst's file is looked for."""
    if named := environ.get("OODIDA_CONFIG"):
        return Path(named).expanduser()
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")).expanduser())
    folder = Path(base) if environ.get("XDG_CONFIG_HOME") else Path(base) / ".config"
    return folder / "oodida" / "analyst.yaml"


def load_settings(
    given: Given | None = None, *, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Join what is given, the environment (``OODIDA_*``), the file and the defaults.

    Raises: ConfigError, naming the file and key, the name that cannot be a user's, or what is
            missing for a link that is protected.
    """
    given = given or Given()
    path = config_path(environ)
    if "OODIDA_CONFIG" in environ and not path.exists():
        raise ConfigError(f"OODIDA_CONFIG: {path} is not there")
    file = load_config(path, _File) if path.exists() else _File()
    cloud = given.cloud or environ.get("OODIDA_CLOUD") or file.cloud or DEFAULT_CLOUD
    check_endpoint(cloud)
    paths = _key_paths(given, environ, file, path.parent)
    insecure = given.insecure or environ.get("OODIDA_INSECURE", "") == "1" or file.insecure
    check_trust(cloud, keyed=paths is not None, insecure=insecure, what="cloud")
    user = given.user or environ.get("OODIDA_USER") or file.user or ""
    keys = None
    if paths is None or paths.own is None or paths.cloud is None:
        log.warning("INSECURE: no keys; whoever listens at %s is taken for the cloud", cloud)
    else:
        keys = read_link_keys(paths.own, paths.cloud, "analyst", "engineer", "operator")
    return Settings(
        cloud=cloud,
        user=_user(user, keys),
        timeout_s=given.timeout_s or file.timeout_s or DEFAULT_TIMEOUT_S,
        keys=keys,
        vehicles=None if paths is None else paths.vehicles,
        known_vehicles=_known_vehicles(paths, keys),
    )


def _key_paths(
    given: Given, environ: Mapping[str, str], file: _File, base: Path
) -> KeyPaths | None:
    """Join the paths of the keys; None when there are none at all.

    Raises: ConfigError, when only one of the two that are needed is there.
    """

    def path(wanted: Path | None, variable: str, held: Path | None) -> Path | None:
        if wanted is not None:
            return wanted.expanduser()
        if named := environ.get(variable):
            return Path(named).expanduser()
        return None if held is None else base / held.expanduser()

    own = path(given.keys.own, "OODIDA_KEY", file.keys.own)
    cloud = path(given.keys.cloud, "OODIDA_CLOUD_KEY", file.keys.cloud)
    vehicles = path(given.keys.vehicles, "OODIDA_VEHICLE_KEYS", file.keys.vehicles)
    if own is None and cloud is None:
        return None
    if own is None or cloud is None:
        raise ConfigError(
            "keys: give both your own (OODIDA_KEY, --key) and the cloud's card "
            "(OODIDA_CLOUD_KEY, --cloud-key)"
        )
    return KeyPaths(own=own, cloud=cloud, vehicles=vehicles)


def _known_vehicles(paths: KeyPaths | None, keys: LinkKeys | None) -> Path | None:
    """Return a directory beside the analyst's own keys, for this cloud alone."""
    if paths is None or paths.own is None or keys is None:
        return None
    return paths.own.parent / f"{paths.own.stem}.vehicles" / keys.cloud.fingerprint


def _user(asked: str, keys: LinkKeys | None) -> str:
    """Return who asks: the name on the keys, or without keys who is named.

    Raises: ConfigError.
    """
    if keys is not None:
        name = keys.own.card.name
        if asked not in ("", name):
            raise ConfigError(
                f"user: {asked} is not the name on your keys, {name}; leave the user out"
            )
        return name
    name = asked or _login_name()
    if not is_name(name):
        raise ConfigError(
            f"{name!r} cannot name a user: letters, digits, dot, dash and underscore, at most 64, "
            "beginning with a letter or digit"
        )
    return name


def _login_name() -> str:
    """Return the login name with what a user id may not hold replaced; never fails."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError):  # a user id without an entry, as in some containers
        login = ""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", login)[:64].lstrip("._-")
    return name or "analyst"
