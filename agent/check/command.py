"""The command ``oodida-agent check``."""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from agent.check import buses, cloud_link, machine, owner
from agent.check.finding import Finding, screen
from agent.config import AgentConfig, checked, read_config
from agent.signals.names import SignalNames
from agent.signals.profile import Profile, load_profile
from dbc import Catalog
from hw import SourceConfig
from user_lib.contract.clock import Clock, SystemClock
from user_lib.contract.errors import ConfigError, OodidaError

__all__ = ["findings", "main"]

FIT, UNFIT = 0, 1
USUAL = Path("/etc/oodida/agent.yaml")


def main(arguments: Sequence[str]) -> int:
    """Check this vehicle; return 0 when it is fit, 1 when something keeps it from its work."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.CRITICAL, stream=sys.stderr)
    found = list(findings(given.config, given.seconds, _socket(given)))
    if given.json:
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
    else:
        sys.stdout.write(screen(found) + "\n")
    return UNFIT if any(f.level == "fail" for f in found) else FIT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oodida-agent check",
        description="Say what is right and wrong with this vehicle, and the fix for each. Reads "
        "its buses for a few seconds; changes nothing, and needs no agent to run.",
        epilog="exit codes: 0 fit, 1 something keeps the vehicle from its work",
    )
    parser.add_argument(
        "--config", type=Path, default=USUAL, metavar="FILE", help=f"by default {USUAL}"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="to listen to the buses (5)")
    parser.add_argument("--sandbox-socket", metavar="PATH", help="where a service starts sandboxes")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _socket(given: argparse.Namespace) -> str:
    """Return the sandbox's socket: the one given, or the service's where it is the vehicle's."""
    if given.sandbox_socket is not None:
        return str(given.sandbox_socket)
    service = machine.SERVICE_SOCKET
    return str(service) if given.config == USUAL and service.exists() else ""


def findings(path: Path, seconds: float, sandbox_socket: str = "") -> Iterator[Finding]:
    """Look at one thing after the other; what needs the configuration only if there is one."""
    try:
        config = read_config(path)
        profile = load_profile(config.profile, [Path(d) for d in config.profile_dirs])
    except OodidaError as error:
        yield Finding("config", "fail", str(error), f"correct {_at_fault(error, path)}")
        return
    try:
        config = checked(config)
    except OodidaError as error:
        yield Finding("config", "fail", str(error), f"correct {path}")
        return
    if sandbox_socket and not config.sandbox_socket:
        config = msgspec.structs.replace(config, sandbox_socket=sandbox_socket)
    found, catalog = buses.databases(profile)
    config_found, names = _names(config, profile, catalog)
    yield config_found
    yield found
    clock = SystemClock()
    yield from _buses(config.sources or profile.sources, catalog, seconds, clock)
    yield machine.clock_state(clock)
    yield cloud_link.keys(config)
    yield cloud_link.reachability(config)
    yield from machine.sandbox(config)
    yield machine.disk(config)
    yield owner.policy(config, names)
    yield machine.service()


def _at_fault(error: OodidaError, path: Path) -> Path:
    """Return the file that an error begins with; the configuration's own when it names none."""
    named = Path(str(error).partition(": ")[0])
    return named if named.is_file() else path


def _names(
    config: AgentConfig, profile: Profile, catalog: Catalog | None
) -> tuple[Finding, SignalNames | None]:
    """Say whose configuration this is; it fails when a derived signal cannot be computed."""
    found = Finding("config", "ok", f"vehicle {config.vehicle_id}, profile {profile.name}")
    if catalog is None:
        return found, None
    try:
        return found, SignalNames(catalog, profile.derived)
    except ConfigError as error:
        words = f"profile {profile.name}: {error}"
        fix = f"correct derived: in the profile {config.profile}"
        return Finding("config", "fail", words, fix), None


def _buses(
    sources: Sequence[SourceConfig], catalog: Catalog | None, seconds: float, clock: Clock
) -> Iterator[Finding]:
    if not sources:
        yield Finding("bus", "fail", "no sources", "give some in the profile or the configuration")
        return
    with ThreadPoolExecutor(len(sources)) as listeners:
        waiting = [listeners.submit(buses.listen, s, catalog, seconds, clock) for s in sources]
        heard = [one.result()[1] for one in waiting]
    for source, one in zip(sources, heard, strict=True):
        yield buses.interface(source, one)
    if catalog is not None:
        yield buses.coverage(catalog, heard, seconds)
