"""The buses: is each interface there and up, what is heard on it, what of that is decoded."""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import hw
from agent.check.finding import Finding
from agent.signals.profile import Profile
from dbc import Catalog, Decoder
from hw import CanConfig, Source, SourceConfig
from user_lib.contract.clock import SECOND, Clock
from user_lib.contract.errors import DatabaseError, OodidaError, SourceError
from user_lib.contract.frames import ERROR, EXTENDED, REMOTE, FrameBatch

__all__ = ["Heard", "coverage", "databases", "interface", "listen"]

NETWORK = Path("/sys/class/net")
READ_S = 0.25
SHOWN_IDS = 5
POOR_SHARE = 0.3
IP_TIMEOUT_S = 5.0
_UP = 1


@dataclass
class Heard:
    """What came in on one source while we listened."""

    seconds: float = 0.0
    frames: int = 0
    errors: int = 0
    dropped: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    """Identifiers that no database has, with how often they came."""
    messages: set[str] = field(default_factory=set)
    problem: str = ""


def databases(profile: Profile) -> tuple[Finding, Catalog | None]:
    """Load the profile's databases."""
    try:
        catalog = profile.load_catalog()
    except (DatabaseError, OodidaError) as error:
        return Finding("databases", "fail", str(error), "correct the profile or the file"), None
    signals = catalog.signals()
    named = sum(info.vss for info in signals)
    found = (
        f"{len(profile.databases)} files, {len(catalog.messages)} messages, "
        f"{len(signals)} signals, {named} of them by VSS path"
    )
    if catalog.repairs:
        first = catalog.repairs[0]
        return Finding(
            "databases", "warn", f"{found}; {len(catalog.repairs)} places were repaired, the first "
            f"{first}", "correct them at their source; the log names each",
        ), catalog  # fmt: skip
    return Finding("databases", "ok", found), catalog


def listen(
    source: SourceConfig, catalog: Catalog | None, seconds: float, clock: Clock
) -> tuple[tuple[str, ...], Heard]:
    """Read a source for some seconds; return its channels and what was heard."""
    heard = Heard()
    try:
        opened = hw.open_source(source, clock=clock)
    except SourceError as error:
        heard.problem = str(error)
        return (), heard
    try:
        _read(opened, catalog, seconds, clock, heard)
    except SourceError as error:
        if not heard.frames:
            heard.problem = str(error)
    finally:
        stats = opened.stats()
        heard.errors, heard.dropped = stats.error_frames, stats.dropped
        opened.close()
    return opened.channels, heard


def _read(
    source: Source, catalog: Catalog | None, seconds: float, clock: Clock, heard: Heard
) -> None:
    decoder = None if catalog is None else Decoder(catalog, source.channels)
    began_ns = clock.monotonic_ns()
    while (passed_ns := clock.monotonic_ns() - began_ns) < seconds * SECOND:
        batch = source.read(READ_S)
        heard.seconds = max(passed_ns / SECOND, READ_S)
        _note(batch, decoder, heard)


def _note(batch: FrameBatch, decoder: Decoder | None, heard: Heard) -> None:
    data = (batch.flags & (ERROR | REMOTE)) == 0
    batch = batch.take(data)
    heard.frames += len(batch)
    if decoder is None or not len(batch):
        return
    message = decoder.match(batch)
    for index in np.unique(message[message >= 0]).tolist():
        heard.messages.add(decoder.messages[index].name)
    unknown = batch.take(message < 0)
    for can_id, flags in zip(unknown.can_id.tolist(), unknown.flags.tolist(), strict=True):
        heard.unknown[f"{can_id:08X}" if flags & EXTENDED else f"{can_id:03X}"] += 1


def interface(source: SourceConfig, heard: Heard) -> Finding:
    """Say how one source is: there, up, at what speed, with how many frames."""
    name = "bus"
    what = source.channel if isinstance(source, CanConfig) else type(source).__name__[:-6].lower()
    state = _state(source)
    if state is not None and state.level == "fail":
        return state
    if heard.problem:
        return Finding(
            name, "fail", f"{what}: {heard.problem}", "correct the source in the profile"
        )
    rate = heard.frames / heard.seconds if heard.seconds else 0.0
    found = f"{state.found if state else what}, {rate:.0f} frames/s"
    if heard.errors:
        return Finding(
            name, "warn", f"{found}, {heard.errors} error frames",
            "bit rate, termination (60 Ω between CAN-H and CAN-L) or another node's fault",
        )  # fmt: skip
    if not heard.frames:
        return Finding(
            name, "warn", f"{found}: silent",
            f"is the ignition on, and the bit rate right? candump {what} shows the raw bus",
        )  # fmt: skip
    if heard.dropped:
        return Finding(
            name, "warn", f"{found}, {heard.dropped} lost",
            "raise capacity_frames, and sysctl net.core.rmem_max with it",
        )  # fmt: skip
    return Finding(name, "ok", found)


def _state(source: SourceConfig) -> Finding | None:
    """Say how a network interface is set up; None for sources that are none."""
    if not isinstance(source, CanConfig) or source.interface != "socketcan":
        return None
    channel = source.channel
    folder = NETWORK / channel
    unit = f"/etc/oodida/can/{channel}.conf and systemctl start oodida-can@{channel}"
    if not folder.exists():
        return Finding("bus", "fail", f"{channel}: no such interface", f"its driver, or {unit}")
    if not int((folder / "flags").read_text(), 16) & _UP:
        return Finding("bus", "fail", f"{channel}: is down", unit)
    details = _details(channel)
    if details.get("state") == "BUS-OFF":
        return Finding(
            "bus", "fail", f"{channel}: the controller is bus-off",
            f"wiring and bit rate, then: ip link set {channel} type can restart",
        )  # fmt: skip
    bitrate = details.get("bittiming", {}).get("bitrate")
    speed = f", {bitrate / 1000:g} kbit/s" if bitrate else ""
    return Finding("bus", "ok", f"{channel} up{speed}")


def _details(channel: str) -> dict[str, Any]:
    """Return what ip(8) knows of a controller; nothing where there is no ip."""
    ip = shutil.which("ip")
    if ip is None:
        return {}
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, and a name that exists as a file
            [ip, "-details", "-json", "link", "show", "dev", channel],
            capture_output=True, timeout=IP_TIMEOUT_S, check=True,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout)[0]["linkinfo"].get("info_data", {})
    except (OSError, subprocess.SubprocessError, ValueError, LookupError):
        return {}
    return found


def coverage(catalog: Catalog, heard: Sequence[Heard], seconds: float) -> Finding:
    """Say how much of what was heard the databases know."""
    frames = sum(h.frames for h in heard)
    unknown = sum((h.unknown for h in heard), Counter[str]())
    if not frames:
        return Finding("coverage", "warn", f"nothing was heard in {seconds:g} s", "see the buses")
    decoded = 1 - unknown.total() / frames
    messages = set().union(*(h.messages for h in heard))
    found = f"{decoded:.0%} of {frames} frames decoded, {len(messages)} messages"
    if unknown:
        shown = ", ".join(f"{i} ({n})" for i, n in unknown.most_common(SHOWN_IDS))
        more = len(unknown) - SHOWN_IDS
        found += f"; {len(unknown)} identifiers unknown: {shown}" + ("…" if more > 0 else "")
    if not messages:
        return Finding(
            "coverage", "fail", found, "these databases are for another car or channel: see the "
            f"profile's channels (the databases know {len(catalog.messages)} messages)",
        )  # fmt: skip
    if decoded < POOR_SHARE:
        return Finding("coverage", "warn", found, "add the database of the rest, if there is one")
    return Finding("coverage", "ok", found)
