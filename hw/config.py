"""What the configuration says about sources, and how each is opened.

One entry of the agent's ``sources``, told apart by ``kind``::

    {kind: can, interface: socketcan, channel: can0, fd: true}
    {kind: replay, log: drive.log.gz, speed: 10, loop: true}
    {kind: simulated, model: compact, seed: 7}

Each kind's own modules are loaded when it is opened: a vehicle has one kind, and little memory.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from hw.exclusion import excluded_keys
from hw.socketcan.can_socket import CanSocket
from hw.socketcan.source import SocketCanSource
from hw.source import Source
from user_lib.contract.clock import Clock, SystemClock
from user_lib.contract.errors import SourceError

__all__ = [
    "CanConfig",
    "ReplayConfig",
    "SimulatedConfig",
    "SourceConfig",
    "open_source",
    "open_sources",
]

log = logging.getLogger("hw.config")

_SOCKETCAN = "socketcan"
Positive = Annotated[float, msgspec.Meta(gt=0)]
Speed = Positive | Literal["max"]

DEFAULT_START_NS = 1_704_067_200_000_000_000
"""2024-01-01 UTC: when a simulated drive at full speed begins, so that it repeats exactly."""


class CanConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="can",
):
    """A CAN interface of the machine, any that python-can has a driver for."""

    interface: str
    channel: str
    name: str = ""
    """What databases and signals call the channel; by default as `channel`."""
    fd: bool = False
    bitrate: int | None = None
    data_bitrate: int | None = None
    capacity_frames: Annotated[int, msgspec.Meta(ge=64, le=1_000_000)] = 32_768
    """Frames that wait at most between two reads; what comes on top is dropped and counted."""
    exclude_ids: tuple[int | str, ...] = ()
    """Identifiers that nobody shall see; a number above 0x7FF has 29 bits, as has text of eight
    hexadecimal digits. History, bus load and diagnosis are blind for them."""
    options: dict[str, Any] = {}
    """More arguments for the driver, as python-can names them."""


class ReplayConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="replay",
):
    """A recorded log, played back."""

    log: str
    speed: Speed = 1.0
    loop: bool = False
    channels: dict[str, str] = {}
    """Other names for channels of the log: ``{vcan0: can0}``."""
    capacity_frames: Annotated[int, msgspec.Meta(ge=64, le=1_000_000)] | None = None
    """Lose what waits on top of so many frames, as an interface would; by default nothing is lost,
    and a slow reader gets its frames later."""


class SimulatedConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="simulated",
):
    """A simulated car of one of the demo models, on a drive of its own or after a speed table."""

    model: str
    seed: int = 0
    speed_table: str | None = None
    """A CSV of times and speeds to drive after, in place of the seeded drive."""
    speed: Speed = 1.0
    duration_s: Positive | None = None
    """Where the drive ends; by default never (a speed table: with its last row)."""
    loop: bool = False
    start_ns: int | None = None
    """Time of the first frame; by default now, at full speed 2024-01-01."""


SourceConfig = CanConfig | ReplayConfig | SimulatedConfig


def open_source(config: SourceConfig, *, clock: Clock | None = None) -> Source:
    """Open what a configuration names. Relative paths are the caller's to resolve.

    Raises: SourceError, when it cannot be opened; the message says what to do.
    """
    clock = clock or SystemClock()
    if isinstance(config, CanConfig):
        return _open_interface(config, clock)
    if isinstance(config, ReplayConfig):
        return _open_replay(config, clock)
    return _open_simulated(config, clock)


def open_sources(configs: Sequence[SourceConfig], *, clock: Clock | None = None) -> list[Source]:
    """Open what configurations name; SocketCAN interfaces become one source, read together.

    Raises: SourceError, when one cannot be opened; then none stays open.
    """
    clock = clock or SystemClock()
    opened: list[Source] = []
    try:
        sockets = [c for c in configs if isinstance(c, CanConfig) and c.interface == _SOCKETCAN]
        if sockets:
            opened.append(_open_socketcan(sockets, clock))
        opened += [open_source(config, clock=clock) for config in configs if config not in sockets]
    except BaseException:
        for source in opened:
            source.close()
        raise
    return opened


def _open_interface(config: CanConfig, clock: Clock) -> Source:
    if config.interface == _SOCKETCAN:
        return _open_socketcan([config], clock)
    from hw.interface import InterfaceSource  # with python-can: 9 MB, with asammdf installed 80

    name, excluded = config.name or config.channel, excluded_keys(config.exclude_ids)
    options: dict[str, Any] = {"interface": config.interface, "channel": config.channel}
    if config.fd:
        options["fd"] = True
    if config.bitrate is not None:
        options["bitrate"] = config.bitrate
    if config.data_bitrate is not None:
        options["data_bitrate"] = config.data_bitrate
    options.update(config.options)
    return InterfaceSource(
        options, name, clock, capacity_frames=config.capacity_frames, excluded=excluded
    )


def _open_socketcan(configs: Sequence[CanConfig], clock: Clock) -> Source:
    for config in configs:
        _check_socketcan(config)
    openers = [
        CanSocket(c.channel, c.capacity_frames, excluded_keys(c.exclude_ids)) for c in configs
    ]
    return SocketCanSource(openers, [c.name or c.channel for c in configs], clock)


def _check_socketcan(config: CanConfig) -> None:
    if config.options:
        raise SourceError(
            f"options: {', '.join(config.options)}: a socketcan interface takes none; it is set up "
            "with ip link"
        )
    if config.bitrate is not None or config.data_bitrate is not None:
        log.warning(
            "bitrate of %s is not set here: use ip link set %s type can bitrate ...",
            config.channel,
            config.channel,
        )


def _open_replay(config: ReplayConfig, clock: Clock) -> Source:
    from hw.logs import read_log
    from hw.replay import Recorded, ReplaySource

    return ReplaySource(
        Recorded(read_log(Path(config.log)), config.channels),
        clock,
        speed=config.speed,
        loop=config.loop,
        capacity_frames=config.capacity_frames,
    )


def _open_simulated(config: SimulatedConfig, clock: Clock) -> Source:
    from hw.replay import ReplaySource
    from hw.simulated.car import SimulatedDrive
    from hw.simulated.speed_table import read_speed_table

    start_ns = config.start_ns
    if start_ns is None:
        start_ns = DEFAULT_START_NS if config.speed == "max" else clock.unix_ns()
    table = None if config.speed_table is None else read_speed_table(Path(config.speed_table))
    drive = SimulatedDrive(
        config.model,
        seed=config.seed,
        speed_table=table,
        duration_s=config.duration_s,
        start_ns=start_ns,
    )
    return ReplaySource(drive, clock, speed=config.speed, loop=config.loop)
