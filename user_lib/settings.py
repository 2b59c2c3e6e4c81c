"""Where the cloud is and who asks: arguments, then the environment, then a file, then defaults.

The file is ``~/.config/oodida/analyst.yaml`` (``$XDG_CONFIG_HOME`` is respected)::

    cloud: tcp://127.0.0.1:5570
    user: ada
    timeout_s: 5
"""

import getpass
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from user_lib.contract.errors import ConfigError
from user_lib.contract.ids import is_name
from user_lib.wire.config import load_config

__all__ = ["DEFAULT_CLOUD", "Settings", "config_path", "load_settings"]

DEFAULT_CLOUD = "tcp://127.0.0.1:5570"
DEFAULT_TIMEOUT_S = 5.0


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``analyst.yaml`` may hold."""

    cloud: str | None = None
    user: str | None = None
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Settings(msgspec.Struct, frozen=True):
    """How an analyst reaches the cloud."""

    cloud: str
    user: str
    timeout_s: float
    """How long a request may go unanswered before a LinkError."""


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the analyst's file is looked for."""
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")).expanduser())
    folder = Path(base) if environ.get("XDG_CONFIG_HOME") else Path(base) / ".config"
    return folder / "oodida" / "analyst.yaml"


def load_settings(
    cloud: str | None = None,
    user: str | None = None,
    timeout_s: float | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Join arguments, ``OODIDA_CLOUD`` and ``OODIDA_USER``, the file and the defaults.

    Raises: ConfigError, naming the file and key, or the name that cannot be a user's.
    """
    path = config_path(environ)
    file = load_config(path, _File) if path.exists() else _File()
    name = user or environ.get("OODIDA_USER") or file.user or _login_name()
    if not is_name(name):
        raise ConfigError(
            f"{name!r} cannot name a user: letters, digits, dot, dash and underscore, at most 64, "
            "beginning with a letter or digit"
        )
    return Settings(
        cloud=cloud or environ.get("OODIDA_CLOUD") or file.cloud or DEFAULT_CLOUD,
        user=name,
        timeout_s=timeout_s or file.timeout_s or DEFAULT_TIMEOUT_S,
    )


def _login_name() -> str:
    """Return the login name with what a user id may not hold replaced; never fails."""
    try:
        login = getpass.getuser()
    except (OSError, KeyError):  # a user id without an entry, as in some containers
        login = ""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", login)[:64].lstrip("._-")
    return name or "analyst"
