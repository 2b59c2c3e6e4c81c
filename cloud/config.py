"""The cloud's settings: `cloud.yaml` into frozen structs, with a safe default for every key."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from user_lib.contract.assignment import Limits
from user_lib.contract.errors import ConfigError
from user_lib.wire.config import load_config
from user_lib.wire.socket import check_endpoint, check_trust

__all__ = [
    "HANDSHAKES_PER_KEY",
    "Bounds",
    "CloudKeys",
    "Config",
    "ContentsConfig",
    "OffboardConfig",
    "Pace",
    "Rate",
    "check",
    "load",
]

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A piece of the configuration."""


class OffboardConfig(_Part, frozen=True, kw_only=True):
    """How off-board methods run: so many at once, none beyond the caps."""

    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    caps: Limits = Limits(cpu_s=10.0, memory_mb=1024, wall_s=30.0)


class Rate(_Part, frozen=True, kw_only=True):
    """How much a peer may send in the long run, and for how long at twice that and more."""

    messages_per_s: Positive
    mb_per_s: Positive
    burst_s: Positive = 10.0
    """So many seconds' worth may come at once."""


class Pace(_Part, frozen=True, kw_only=True):
    """How often something may happen in the long run, and how often at once."""

    per_s: Positive
    at_once: Count

    @property
    def rate(self) -> Rate:
        """The same as a rate of messages without bytes."""
        burst_s = self.at_once / self.per_s
        return Rate(messages_per_s=self.per_s, mb_per_s=1e6, burst_s=burst_s)


HANDSHAKES_PER_KEY = Pace(per_s=20, at_once=400)


class Bounds(_Part, frozen=True, kw_only=True):
    """What one peer, one analyst and all of them together may take."""

    vehicles: Count = 20_000
    waiting_requests: Count = 10_000
    """Requests that wait at the cloud for news, of all analysts."""
    waiting_requests_per_peer: Count = 16
    live_assignments_per_analyst: Count = 200
    messages_per_peer: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 256
    """Messages queued for a peer that does not read; beyond it they are dropped and counted."""
    queued_mb_per_peer: Positive = 32.0
    """Of replies and large messages, over all its connections; one is always allowed."""
    queued_mb: Positive = 512.0
    """Of large messages, for all peers that do not read."""
    unread_mb: Positive = 256.0
    """What all connections together may have sent that was not handed on yet: messages that are not
    whole, or wait. Beyond it those are hung up on who owe most, and more than one message."""
    vehicle_rate: Rate = Rate(messages_per_s=500, mb_per_s=16)
    """What one vehicle may send; it is told and paces itself, also when it was away for days."""
    analyst_rate: Rate = Rate(messages_per_s=200, mb_per_s=8)
    """What everybody else may ask."""
    connections: Count = 24_000
    """All together; fewer where this process may not have the descriptors for them."""
    connections_per_vehicle: Count = 4
    """Of one key; when there is one more, the oldest is hung up on."""
    connections_per_analyst: Count = 256
    """The same for everybody else."""
    newcomers_per_address: Pace = Pace(per_s=100, at_once=10_000)
    """Connections that have said nothing yet. Who says something no longer counts, so that a fleet
    behind one address comes back as fast as it can."""
    handshakes_per_key: Pace = HANDSHAKES_PER_KEY
    """Connections of an enrolled key; beyond it they are told to come later."""
    silent_s: Positive = 30.0
    """How long a connection may be there without a first message."""


class ContentsConfig(_Part, frozen=True, kw_only=True):
    """What is too large for a message and travels in chunks: parameters, feedback, results."""

    largest_mb: Annotated[float, msgspec.Meta(ge=0.2, le=1000)] = 64.0
    """The largest of them."""
    store_mb: Annotated[float, msgspec.Meta(ge=1)] = 8192.0
    """All that are kept, in the ledger, at the same time."""
    reserve_mb: Annotated[float, msgspec.Meta(ge=0)] = 256.0
    """Room on the ledger's disk that contents leave to everything else."""


class CloudKeys(_Part, frozen=True, kw_only=True):
    """Who the cloud is, and whom it lets in; relative paths are relative to the file."""

    own: Path
    """The secret file of the cloud's own keys."""
    authorized: Path
    """The directory of the cards of vehicles, analysts, engineers and operators."""


class Config(_Part, frozen=True, kw_only=True):
    """Everything that `cloud.yaml` may say."""

    bind: str = "tcp://127.0.0.1:5570"
    ledger: Path = msgspec.field(
        default_factory=lambda: Path("~/.local/state/oodida/cloud.db").expanduser()
    )
    lease_s: Annotated[float, msgspec.Meta(ge=0.3, le=3600)] = 6.0
    offboard: OffboardConfig = OffboardConfig()
    bounds: Bounds = Bounds()
    audit_mb: Annotated[float, msgspec.Meta(ge=1)] = 64.0
    """Disk for the audit log beside the ledger; beyond it the oldest entries go, with a word."""
    contents: ContentsConfig = ContentsConfig()
    keep_ended_days: Positive | None = None
    """Assignments that ended longer ago are removed with their results; None keeps them all."""
    keys: CloudKeys | None = None
    insecure: bool = False
    """Run without keys, on this machine only: every peer is taken for who it says it is."""
    sandbox_socket: str = ""
    """Where a service starts sandboxes as another user; without it they are the cloud's own."""
    metrics_socket: str = ""
    """A unix socket that answers with the metrics; none without it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def load(
    path: Path | None, *, key: Path | None = None, authorized: Path | None = None, **given: object
) -> Config:
    """Read the configuration, let the values given (unless None) win, and check the whole.

    Raises: ConfigError, naming the file, the key and what is allowed.
    """
    config = Config() if path is None else load_config(path, Config)
    keys = _joined(config.keys, Path() if path is None else path.parent, key, authorized)
    changes = {name: value for name, value in given.items() if value is not None}
    config = msgspec.structs.replace(config, keys=keys, **changes)
    config = msgspec.structs.replace(config, ledger=config.ledger.expanduser())
    check(config)
    return config


def _joined(
    written: CloudKeys | None, base: Path, key: Path | None, authorized: Path | None
) -> CloudKeys | None:
    """Return the file's keys, by the command line's in their places.

    Raises: ConfigError, when only one of the two is there.
    """
    if written is not None:
        key = key or base / written.own.expanduser()
        authorized = authorized or base / written.authorized.expanduser()
    if key is None and authorized is None:
        return None
    if key is None or authorized is None:
        raise ConfigError("keys: give both the cloud's own (--key) and --authorized")
    return CloudKeys(own=key, authorized=authorized)


def check(config: Config) -> None:
    """Refuse an address that is none, bounds that contradict, and a link that nothing protects.

    Raises: ConfigError, with the way out.
    """
    check_endpoint(config.bind)
    bounds = config.bounds
    if bounds.connections < bounds.vehicles:
        raise ConfigError(
            f"bounds.connections: {bounds.connections} are fewer than bounds.vehicles "
            f"({bounds.vehicles}), and each vehicle needs one; leave some for analysts too"
        )
    check_trust(config.bind, keyed=config.keys is not None, insecure=config.insecure, what="bind")
