"""What is particular to a car model, in one YAML file.

::

    model: kona
    channels:
      can0: {databases: [kona_pcan.dbc]}
      can1:
        databases: [kona_ccan.dbc]
        bitrate: 250000
        source: {kind: can, interface: socketcan, channel: can1}
    mapping: kona.vspec
    derived:
      Vehicle.Power: {expression: "Battery.Voltage * Battery.Current / 1000", unit: kW}
    sources: [{kind: replay, log: drive.log, loop: true}]
    tags: {class: compact}

Files are relative to the profile. Everything but ``channels`` may be left out; ``sources`` are
where the frames come from unless the agent's own configuration says otherwise. ``bitrate`` and
``data_bitrate`` (of CAN FD) are what bus load is reckoned with: as the interface is set, else as
given here, else 500,000 and 2,000,000.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import msgspec

from agent.signals.names import Derivation
from agent.signals.quality.frame_time import Bitrate
from dbc import Catalog, DatabaseRef, load
from hw.config import CanConfig, ReplayConfig, SimulatedConfig, SourceConfig
from user_lib.contract.digest import sha256
from user_lib.contract.errors import ConfigError, nearest
from user_lib.wire.config import load_config

__all__ = ["PACKAGED", "ChannelProfile", "Profile", "load_profile", "resolve_source"]

PACKAGED = Path(__file__).resolve().parents[2] / "dbc" / "files"
"""Where the profiles of the demo cars are."""
_SUFFIXES = (".yaml", ".yml")
BitsPerSecond = Annotated[int, msgspec.Meta(gt=0)]


class ChannelProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One bus of the car: its databases, and optionally where its frames come from."""

    databases: tuple[str, ...] = ()
    j1939: bool = False
    source: SourceConfig | None = None
    bitrate: BitsPerSecond | None = None
    data_bitrate: BitsPerSecond | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The YAML file as it is written."""

    channels: dict[str, ChannelProfile]
    model: str = ""
    mapping: str | None = None
    derived: dict[str, Derivation] = {}
    sources: tuple[SourceConfig, ...] = ()
    tags: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Profile:
    """A car model: databases a channel, names, derived signals, and default sources.

    All paths are absolute.
    """

    name: str
    model: str
    databases: tuple[DatabaseRef, ...]
    mapping: Path | None = None
    derived: dict[str, Derivation] = field(default_factory=dict)
    sources: tuple[SourceConfig, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    bitrates: dict[str, Bitrate] = field(default_factory=dict)
    """The speed of each channel."""
    cache: Path | None = None
    """Where databases are kept as they were read, so that the next start is quick."""

    def heard_by(self, sources: Sequence[SourceConfig]) -> "Profile":
        """Return the profile with the bit rates to which these interfaces are set."""
        rates = dict(self.bitrates)
        for source in sources:
            if isinstance(source, CanConfig):
                name = source.name or source.channel
                rates[name] = _bitrate(source.bitrate, source.data_bitrate, rates.get(name))
        return replace(self, bitrates=rates)

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that the databases are for."""
        return tuple(dict.fromkeys(ref.channel for ref in self.databases if ref.channel))

    def load_catalog(self) -> Catalog:
        """Load the databases and the mapping.

        Raises: DatabaseError, naming file, line and cause.
        """
        return load(self.databases, mapping=self.mapping, cache=self.cache)

    def hash_of(self, catalog: Catalog) -> str:
        """Return the catalog's hash, or one that covers derived signals and bit rates as well."""
        rates = {name: rate for name, rate in self.bitrates.items() if rate != Bitrate()}
        parts = [part for part in (self.derived, rates) if part]
        if not parts:
            return catalog.hash
        more = b"".join(msgspec.json.encode(part, order="sorted") for part in parts)
        return sha256(catalog.hash.encode() + more).hex()


def load_profile(name_or_path: str | Path, search: Sequence[Path] = ()) -> Profile:
    """Read a profile: a path, or a name looked up in ``search`` and then among the packaged ones.

    Raises: ConfigError, if there is none of that name (the nearest are named), or a key of it is
            unknown or wrong.
    """
    path = _find(str(name_or_path), (*search, PACKAGED))
    written = load_config(path, _File)
    here = path.resolve().parent
    if not any(channel.databases for channel in written.channels.values()):
        raise ConfigError(f"{path}: channels: none has databases, so no frame can be decoded")
    sources = (*written.sources, *_channel_sources(written))
    return Profile(
        name=path.stem,
        model=written.model or path.stem,
        databases=tuple(
            DatabaseRef(path=here / file, channel=name, j1939=channel.j1939)
            for name, channel in written.channels.items()
            for file in channel.databases
        ),
        mapping=None if written.mapping is None else here / written.mapping,
        derived=dict(written.derived),
        sources=tuple(resolve_source(source, here) for source in sources),
        tags=dict(written.tags),
        bitrates={
            name: _bitrate(channel.bitrate, channel.data_bitrate)
            for name, channel in written.channels.items()
        },
    ).heard_by(sources)


def _bitrate(
    bitrate: int | None, data_bitrate: int | None, known: Bitrate | None = None
) -> Bitrate:
    """Return the speed of a bus: what is given, else what is known, else the default."""
    known = known or Bitrate()
    return Bitrate(bitrate or known.bitrate, data_bitrate or known.data_bitrate)


def _channel_sources(written: _File) -> list[SourceConfig]:
    found: list[SourceConfig] = []
    for name, channel in written.channels.items():
        source = channel.source
        if isinstance(source, CanConfig) and not source.name:
            source = msgspec.structs.replace(source, name=name)
        if source is not None:
            found.append(source)
    return found


def resolve_source(source: SourceConfig, base: Path) -> SourceConfig:
    """Return the source with its files relative to ``base``."""
    match source:
        case ReplayConfig(log=log):
            return msgspec.structs.replace(source, log=str(base / log))
        case SimulatedConfig(speed_table=str(table)):
            return msgspec.structs.replace(source, speed_table=str(base / table))
        case _:
            return source


def _find(name: str, folders: Sequence[Path]) -> Path:
    if name.endswith(_SUFFIXES) or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise ConfigError(f"no profile at {path}; give the path of a YAML file, or a name")
        return path
    for folder in folders:
        for suffix in _SUFFIXES:
            if (path := folder / f"{name}{suffix}").is_file():
                return path
    files = (p for d in folders for s in _SUFFIXES for p in d.glob(f"*{s}"))
    known = sorted({p.stem for p in files if _looks_like_one(p)})
    near = nearest(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    looked = ", ".join(str(folder) for folder in folders)
    raise ConfigError(f"no profile {name!r}; {hint} (looked in {looked})")


def _looks_like_one(path: Path) -> bool:
    """Whether a YAML file is a profile and not, say, the agent's own configuration beside it."""
    try:
        return any(line.startswith("channels:") for line in path.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return False
