"""The agent's configuration: one YAML file into a frozen struct, units in the keys."""

import socket
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from agent.policy import Policy, check_rules
from agent.signals.profile import resolve_source
from agent.wall import TrustClock
from hw.config import SourceConfig
from user_lib.contract.errors import ConfigError
from user_lib.contract.escaping import steers
from user_lib.contract.ids import is_name
from user_lib.wire.config import convert_config, load_config, read_yaml
from user_lib.wire.keys import load_keys
from user_lib.wire.socket import check_endpoint, check_trust

__all__ = [
    "AgentConfig",
    "AgentKeys",
    "ContentsConfig",
    "LogLevel",
    "checked",
    "read_config",
    "taken_over",
]

LIVE_KEYS = frozenset({"profile", "profile_dirs", "policy", "policy_file", "tags", "log_level"})
"""What a reload changes: databases and names by the profile, the owner's rules, words."""
LogLevel = Literal["debug", "info", "warning", "error"]


class AgentKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this vehicle is, whom it talks to and whose orders it takes."""

    own: str
    """The secret file of the vehicle's own keys."""
    cloud: str
    """The cloud's card."""
    analysts: str
    """The directory of the cards of the analysts whose code and assignments run here."""


class ContentsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is too large for a message and travels in chunks: results, parameters, feedback."""

    largest_mb: Annotated[float, msgspec.Meta(ge=0.2, le=1000)] = 16.0
    """The largest of them; a result has half of ``outbox_mb`` at most."""
    store_mb: Annotated[float, msgspec.Meta(ge=1)] = 128.0
    """All parameters and feedback that are kept for tasks at the same time."""


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that the agent is told; ``systemd/agent.example.yaml`` explains each key."""

    profile: str
    """What is particular to the car model: a packaged name, or a path to a profile."""
    vehicle_id: str = ""
    """By default the name on its keys, without keys the machine's host name."""
    cloud: str = "tcp://127.0.0.1:5570"
    state_dir: str = "/var/lib/oodida-agent"
    profile_dirs: tuple[str, ...] = ()
    sources: tuple[SourceConfig, ...] = ()
    """Where frames come from, in place of the profile's own sources."""
    history_mb: Annotated[float, msgspec.Meta(ge=1)] = 64.0
    outbox_mb: Annotated[float, msgspec.Meta(ge=1)] = 64.0
    audit_mb: Annotated[float, msgspec.Meta(ge=1)] = 16.0
    """Disk for the audit log; beyond it the oldest entries go, and a line says which."""
    contents: ContentsConfig = ContentsConfig()
    tick_ms: Annotated[int, msgspec.Meta(ge=5, le=1000)] = 50
    slots: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    """Iterations that run at the same time."""
    external_methods: dict[str, tuple[str, ...]] = {}
    """External workers that the engineer installed: name -> command."""
    tags: dict[str, str] = {}
    policy: Policy = Policy()
    policy_file: str = ""
    """The owner's rules in a file of their own, in place of ``policy``."""
    sandbox_socket: str = ""
    """Where a service starts sandboxes as another user; without it they are the agent's own."""
    metrics_socket: str = ""
    """A unix socket that answers with the metrics; none without it."""
    log_level: LogLevel = "info"
    trust_clock: TrustClock = "auto"
    """Whether the wall clock is right: ``auto`` asks the kernel. What expires, expires by that."""
    keys: AgentKeys | None = None
    insecure: bool = False
    """Run without keys, with a cloud on this machine only."""


def read_config(path: Path) -> AgentConfig:
    """Read a configuration; relative paths in it are relative to its file.

    Raises: ConfigError, naming the file, the key, what it holds and what is allowed.
    """
    config = load_config(path, AgentConfig)
    base = path.resolve().parent
    if config.policy_file:
        config = _with_policy(config, path, base / config.policy_file)
    check_rules(config.policy, config.policy_file or f"{path}: policy")
    return msgspec.structs.replace(
        config,
        state_dir=str(base / config.state_dir),
        profile_dirs=tuple(str(base / d) for d in config.profile_dirs) or (str(base),),
        sources=tuple(resolve_source(source, base) for source in config.sources),
        external_methods={
            name: _resolved_command(command, base)
            for name, command in config.external_methods.items()
        },
        keys=config.keys and _resolved_keys(config.keys, base),
    )


def _with_policy(config: AgentConfig, path: Path, file: Path) -> AgentConfig:
    """Return the configuration with the rules of a file.

    Raises: ConfigError.
    """
    if config.policy != Policy():
        raise ConfigError(f"{path}: policy_file: there is a policy beside it; keep one of the two")
    plain = read_yaml(file)
    if not plain:  # as an editor, a full disk or a power cut leaves it behind
        raise ConfigError(
            f"{file}: is empty, and so would allow everything; write `otherwise: raw` if it shall"
        )
    rules = convert_config(plain, Policy, where=str(file))
    return msgspec.structs.replace(config, policy_file=str(file), policy=rules)


def checked(config: AgentConfig) -> AgentConfig:
    """Return the configuration with its defaults filled in, once all of it can hold.

    Raises: ConfigError, naming the key, what it holds and what to do.
    """
    vehicle_id = _own_name(config)
    if not is_name(vehicle_id):
        raise ConfigError(
            f"vehicle_id: {vehicle_id!r} is no name; use letters, digits, dot, dash, underscore"
        )
    _check_cloud(config)
    for tag, text in config.tags.items():
        if steers(tag) or steers(text):
            raise ConfigError(
                f"tags: {tag!a}: {text!a:.200} holds characters that show nothing, such "
                "as controls or line ends; use letters, digits, blanks and signs"
            )
    for name, command in config.external_methods.items():
        if not is_name(name):
            raise ConfigError(f"external_methods: {name!r} is no name of letters and digits")
        if not command:
            raise ConfigError(f"external_methods.{name}: give the command as a list, found none")
    return msgspec.structs.replace(config, vehicle_id=vehicle_id)


def taken_over(now: AgentConfig, wanted: AgentConfig) -> tuple[AgentConfig, tuple[str, ...]]:
    """Return the configuration after a reload, and the keys whose change needs a restart."""
    live = {key: getattr(wanted, key) for key in LIVE_KEYS}
    policy = msgspec.structs.replace(wanted.policy, sandbox=now.policy.sandbox)
    config = msgspec.structs.replace(now, **{**live, "policy": policy})
    late = [
        key
        for key in AgentConfig.__struct_fields__
        if key not in LIVE_KEYS and getattr(now, key) != getattr(wanted, key)
    ]
    if wanted.policy.sandbox != now.policy.sandbox:
        late.append("policy.sandbox")
    return config, tuple(late)


def _check_cloud(config: AgentConfig) -> None:
    try:
        check_endpoint(config.cloud)
    except ConfigError as error:
        raise ConfigError(f"cloud: {error}") from None
    check_trust(config.cloud, keyed=config.keys is not None, insecure=config.insecure, what="cloud")


def _own_name(config: AgentConfig) -> str:
    """Return the vehicle's id, which with keys is the name on its card.

    Raises: ConfigError, when the two differ or the keys cannot be read.
    """
    if config.keys is None:
        return config.vehicle_id or socket.gethostname().split(".")[0]
    name = load_keys(Path(config.keys.own), "vehicle").card.name
    if config.vehicle_id not in ("", name):
        raise ConfigError(
            f"vehicle_id: {config.vehicle_id} is not the name on the keys {config.keys.own}: "
            f"{name}; leave vehicle_id out, or give this vehicle's own keys"
        )
    return name


def _resolved_keys(keys: AgentKeys, base: Path) -> AgentKeys:
    own, cloud, analysts = (
        str(base / Path(p).expanduser()) for p in (keys.own, keys.cloud, keys.analysts)
    )
    return AgentKeys(own=own, cloud=cloud, analysts=analysts)


def _resolved_command(command: tuple[str, ...], base: Path) -> tuple[str, ...]:
    """Make a command given as a path relative to the file absolute; others are found in PATH."""
    if not command or "/" not in command[0]:
        return command
    return (str(base / command[0]), *command[1:])
