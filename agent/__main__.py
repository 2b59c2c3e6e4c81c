"""The command ``oodida-agent``: runs the agent of one vehicle."""

import argparse
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import msgspec

from agent.app import Agent, open_sources, profile_of
from agent.config import AgentConfig, AgentKeys, checked, read_config
from agent.sandbox import SandboxUnavailable
from agent.signals.hub import SignalHub
from agent.store import StateDamaged
from user_lib.contract.clock import SystemClock
from user_lib.contract.errors import ConfigError, OodidaError
from user_lib.contract.escaping import LINES, escaped
from user_lib.wire.logs import complain, set_up_log
from user_lib.wire.version import installed_version

__all__ = ["main"]

log = logging.getLogger("agent")

DEFAULT_CLOUD = "tcp://127.0.0.1:5570"
OK, DAMAGED, BAD_CONFIG, NO_SANDBOX = 0, 1, 2, 3
NARROW_COLUMNS = 80


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent until SIGINT or SIGTERM; return 0, or 2 when it cannot run as configured.

    1 says that its state was found damaged: started again, it puts that aside and begins anew. 3
    says that its sandbox did not come up, on a busy machine perhaps in time: start it again.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["check"]:
        from agent.check.command import main as check  # only an engineer's question needs it

        return check(words[1:])
    given = _parser().parse_args(words)
    if given.simulate_fleet:
        return _simulate(given)
    try:
        config = _config(given)
        set_up_log(config.log_level)
        if given.check_config:
            _say(_summary(config))
            return OK
        agent = Agent(config, reread=lambda: _config(given))
    except OodidaError as error:
        complain("oodida-agent", error)
        return BAD_CONFIG
    except SandboxUnavailable as error:
        complain("oodida-agent", error)
        return NO_SANDBOX
    faulthandler.enable()  # the watchdog aborts what hangs: the log then holds where it hung
    try:
        _run(agent)
    except StateDamaged as error:
        complain("oodida-agent", error)
        return DAMAGED
    return OK


def _simulate(given: argparse.Namespace) -> int:
    from agent.simulation import Plan, simulate, write_cards  # a load test's, not a vehicle's

    set_up_log("error")
    try:
        if given.write_cards is not None:
            if given.key is None:
                raise ConfigError("--key is missing: the keys of the vehicles are made from it")
            write_cards(Path(given.key), given.simulate_fleet, given.write_cards)
            return OK
        plan = Plan(
            vehicles=given.simulate_fleet,
            cloud=given.cloud or DEFAULT_CLOUD,
            profile=given.profile or "compact",
            speed=given.speed,
            keys=_keys(given, None),
            insecure=given.insecure,
        )
        return simulate(plan)
    except OodidaError as error:
        complain("oodida-agent", error)
        return BAD_CONFIG


def _run(agent: Agent) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        log.info("ends by %s", signal.Signals(number).name)
        agent.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, lambda *_: agent.reload())
    try:
        agent.run()
    finally:
        agent.close()


class _Help(argparse.HelpFormatter):
    """As wide as the terminal; argparse would load `shutil`, bz2 and lzma to know it, each time."""

    def __init__(self, prog: str) -> None:
        try:
            columns = os.get_terminal_size().columns
        except OSError:  # not a terminal
            columns = NARROW_COLUMNS
        super().__init__(prog, width=columns - 2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oodida-agent",
        formatter_class=_Help,
        description="Run analytics of the fleet's analysts on this vehicle.",
        epilog="oodida-agent check says what is right and wrong with this vehicle, with the fixes. "
        "Exit codes: 0 ended as asked, 1 damaged state, 2 wrong configuration, 3 no sandbox; after "
        "1 and 3, start it again",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the agent's configuration, YAML"
    )
    parser.add_argument(
        "--simulate-fleet",
        type=int,
        metavar="N",
        help="be N light vehicles at once, for load tests of a cloud: windows are canned, built-in "
        "methods run in this process, custom code is taken but not run, nothing is kept on disk; "
        "their keys are made from the vehicle key given with --key",
    )
    parser.add_argument(
        "--write-cards",
        type=Path,
        metavar="DIR",
        help="with --simulate-fleet: write the vehicles' cards, for the cloud to let them in; end",
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, help="of the simulated vehicles' windows (1: real time)"
    )
    parser.add_argument("--profile", metavar="NAME", help="car model, in place of the file's")
    parser.add_argument("--vehicle-id", metavar="ID", help="in place of the file's")
    parser.add_argument("--cloud", metavar="ENDPOINT", help="in place of the file's")
    parser.add_argument("--key", metavar="FILE", help="own secret keys, in place of the file's")
    parser.add_argument("--cloud-key", metavar="FILE", help="the cloud's card, likewise")
    parser.add_argument("--analysts", metavar="DIR", help="the trusted analysts' cards, likewise")
    parser.add_argument(
        "--insecure", action="store_true", help="no keys; the cloud must be on this machine"
    )
    parser.add_argument("--sandbox-socket", metavar="PATH", help="where a service starts sandboxes")
    parser.add_argument("--metrics-socket", metavar="PATH", help="where metrics are served")
    parser.add_argument(
        "--check-config", action="store_true", help="say what the agent would run with, and end"
    )
    parser.add_argument(
        "--version", action="version", version=f"oodida-agent {installed_version()}"
    )
    return parser


def _config(given: argparse.Namespace) -> AgentConfig:
    """Read the file and let the command line have the last word.

    Raises: ConfigError.
    """
    if given.config is None:
        raise ConfigError("--config is missing: name the agent's configuration file")
    config = read_config(given.config)
    changes = {
        key: value
        for key, value in (
            ("profile", given.profile),
            ("vehicle_id", given.vehicle_id),
            ("cloud", given.cloud),
            ("insecure", given.insecure or None),
            ("keys", _keys(given, config.keys)),
            ("sandbox_socket", given.sandbox_socket),
            ("metrics_socket", given.metrics_socket),
        )
        if value is not None
    }
    return checked(msgspec.structs.replace(config, **changes))


def _keys(given: argparse.Namespace, known: AgentKeys | None) -> AgentKeys | None:
    """Return the keys with what the command line gives in place of the file's.

    Raises: ConfigError, when the two together are not complete.
    """
    named = {"own": given.key, "cloud": given.cloud_key, "analysts": given.analysts}
    paths = {k: v or (getattr(known, k) if known else None) for k, v in named.items()}
    if not any(paths.values()):
        return None
    missing = [k for k, v in paths.items() if not v]
    if missing:
        raise ConfigError(f"keys: {', '.join(missing)} missing; --key, --cloud-key and --analysts")
    return msgspec.convert(paths, AgentKeys)


def _summary(config: AgentConfig) -> str:
    """Open all that can be opened without running, and say what was found.

    Raises: OodidaError, for what would keep the agent from running.
    """
    profile = profile_of(config)
    clock = SystemClock()
    hub = SignalHub(
        profile, open_sources(config, profile, clock), history_mb=config.history_mb, clock=clock
    )
    try:
        signals = hub.signals()
    finally:
        hub.close()
    named = sum(info.vss for info in signals)
    return "\n".join(
        (
            f"vehicle    {config.vehicle_id}",
            f"profile    {profile.name} (model {profile.model}, channels "
            f"{', '.join(profile.channels) or 'any'})",
            f"signals    {len(signals)}, of them {named} by VSS path",
            f"sources    {len(config.sources or profile.sources)}",
            f"cloud      {config.cloud}",
            f"keys       {config.keys.own if config.keys else 'none: INSECURE'}",
            f"state      {config.state_dir}",
            f"slots      {config.slots}",
            f"policy     {config.policy_file or 'of the configuration'}",
            f"custom     {'accepted' if config.policy.accepts_custom else 'refused'}",
            f"external   {', '.join(sorted(config.external_methods)) or 'none'}",
        )
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{escaped(text, keep=LINES)}\n")


if __name__ == "__main__":
    sys.exit(main())
