"""The cloud's settings: `cloud.yaml` into frozen structs, with a safe default for every key."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from user_lib.contract.assignment import Limits
from user_lib.contract.errors import ConfigError
from user_lib.wire.config import load_config
from user_lib.wire.socket import check_endpoint, is_loopback

__all__ = ["Bounds", "Config", "OffboardConfig", "check", "load"]

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A piece of the configuration."""


class OffboardConfig(_Part, frozen=True, kw_only=True):
    """How off-board methods run: so many at once, none beyond the caps."""

    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    caps: Limits = Limits(cpu_s=10.0, memory_mb=1024, wall_s=30.0)


class Bounds(_Part, frozen=True, kw_only=True):
    """What one peer, one analyst and all of them together may take."""

    vehicles: Count = 20_000
    waiting_requests: Count = 10_000
    """Requests that wait at the cloud for news, of all analysts."""
    waiting_requests_per_peer: Count = 16
    live_assignments_per_analyst: Count = 200
    messages_per_peer: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 256
    """Messages queued for a peer that does not read; beyond it they are dropped and counted."""


class Config(_Part, frozen=True, kw_only=True):
    """Everything that `cloud.yaml` may say."""

    bind: str = "tcp://127.0.0.1:5570"
    ledger: Path = Path("~/.local/state/oodida/cloud.db")
    lease_s: Annotated[float, msgspec.Meta(ge=0.3, le=3600)] = 6.0
    offboard: OffboardConfig = OffboardConfig()
    bounds: Bounds = Bounds()
    keep_ended_days: Positive | None = None
    """Assignments that ended longer ago are removed with their results; None keeps them all."""
    insecure: bool = False
    sandbox_socket: str = ""
    """Where a service starts sandboxes as another user; without it they are the cloud's own."""
    metrics_socket: str = ""
    """A unix socket that answers with the metrics; none without it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def load(path: Path | None, **given: object) -> Config:
    """Read the configuration, let the values given (unless None) win, and check the whole.

    Raises: ConfigError, naming the file, the key and what is allowed.
    """
    config = Config() if path is None else load_config(path, Config)
    changes = {key: value for key, value in given.items() if value is not None}
    config = msgspec.structs.replace(config, **changes)
    config = msgspec.structs.replace(config, ledger=config.ledger.expanduser())
    check(config)
    return config


def check(config: Config) -> None:
    """Refuse an address that others can reach, as long as nothing tells peers apart.

    Raises: ConfigError, with the way out.
    """
    check_endpoint(config.bind)
    if not is_loopback(config.bind) and not config.insecure:
        raise ConfigError(
            f"bind: {config.bind} can be reached from other machines, and this version has no keys "
            "yet: anybody there could run code on the vehicles. Bind to 127.0.0.1 (vehicles and "
            "analysts come through a tunnel), or write insecure: true to accept that"
        )
