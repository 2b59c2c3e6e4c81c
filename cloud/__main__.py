"""The command ``oodida-cloud``.

Exit codes: 0 after SIGTERM or SIGINT, 1 when the ledger is found damaged, 2 when it cannot start.
"""

import argparse
import faulthandler
import gc
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.sandbox import SandboxUnavailable
from cloud.app import App
from cloud.config import Bounds, load
from cloud.ledger import LedgerDamaged
from cloud.ledger.upkeep import back_up, check
from user_lib.contract.errors import OodidaError
from user_lib.wire.descriptors import (
    connections_that_fit,
    descriptor_shortage,
    raise_descriptor_limit,
)
from user_lib.wire.logs import complain, set_up_log
from user_lib.wire.version import installed_version

__all__ = ["main"]

LOG = logging.getLogger("cloud")
DAMAGED = 1
COLLECTED_AFTER = (10_000, 20, 20)
"""Objects made before garbage is looked for, and how much more seldom among those that stayed: at
Python's own 700 every burst of messages pays for looking through them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cloud until it is told to end; return the exit code."""
    options = _parser().parse_args(arguments)
    set_up_log("info")
    try:
        config = load(
            options.config,
            bind=options.bind,
            ledger=options.ledger,
            sandbox_socket=options.sandbox_socket,
            metrics_socket=options.metrics_socket,
            key=options.key,
            authorized=options.authorized,
            insecure=options.insecure or _needs_no_link(options) or None,
        )
        set_up_log(config.log_level)
        if options.check_config:
            LOG.info("the configuration is right: %s", config)
            _tell_room(config.bounds)
            return 0
        if options.check_ledger or options.backup_ledger:
            return _keep_up(config.ledger, options.backup_ledger)
        _tell_room(config.bounds)
        app = App(config)
    except (OodidaError, SandboxUnavailable) as error:
        complain("oodida-cloud", error)
        return 2
    faulthandler.enable()  # the watchdog aborts what hangs: the log then holds where it hung
    gc.freeze()  # what was read from the ledger stays
    gc.set_threshold(*COLLECTED_AFTER)
    try:
        app.run(lambda: _say_ready(options.ready_fd, app.endpoint))
    except LedgerDamaged as error:
        complain("oodida-cloud", error)
        return DAMAGED
    return 0


def _needs_no_link(options: argparse.Namespace) -> bool:
    """Whether only the ledger is looked at, and no configuration says how to be reached."""
    offline = options.check_ledger or options.backup_ledger is not None
    return offline and options.config is None and options.key is None


def _tell_room(bounds: Bounds) -> None:
    """Take the descriptors that may be had, and say for how many vehicles they are enough."""
    limit = raise_descriptor_limit()
    room = connections_that_fit(bounds.connections)
    LOG.info("room for %d connections, %d vehicles", room, min(room, bounds.vehicles))
    if shortage := descriptor_shortage(limit, bounds.connections):
        LOG.warning("bounds.connections: %s", shortage)


def _keep_up(ledger: Path, copy: Path | None) -> int:
    """Check the ledger, and copy it when asked to. Raises: LedgerError."""
    try:
        LOG.info("%s", check(ledger))
    except LedgerDamaged as error:
        complain("oodida-cloud", error)
        return DAMAGED
    if copy is not None:
        back_up(ledger, copy)
        LOG.info("copied to %s", copy)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oodida-cloud",
        description="The off-board side of OODIDA: takes assignments from analysts, gives them to "
        "vehicles, keeps their results, and aggregates them.",
        epilog="example: oodida-cloud --config cloud.yaml; without --config, the defaults: "
        "tcp://127.0.0.1:5570 and a ledger in ~/.local/state/oodida, and keys have to be given: "
        "oodida-cloud --key cloud.key --authorized authorized/",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="cloud.yaml")
    parser.add_argument("--bind", metavar="ENDPOINT", help="such as tcp://127.0.0.1:5570")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="the SQLite file")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the cloud's own secret keys")
    parser.add_argument(
        "--authorized", type=Path, metavar="DIR", help="the cards of those who are let in"
    )
    parser.add_argument(
        "--insecure", action="store_true", help="no keys, on this machine only (127.0.0.1, ipc)"
    )
    parser.add_argument("--sandbox-socket", metavar="PATH", help="where a service starts sandboxes")
    parser.add_argument("--metrics-socket", metavar="PATH", help="where metrics are served")
    parser.add_argument(
        "--check-ledger", action="store_true", help="read the whole ledger, say whether it is whole"
    )
    parser.add_argument(
        "--backup-ledger", type=Path, metavar="FILE", help="check the ledger and copy it, running"
    )
    parser.add_argument("--check-config", action="store_true", help="check it, start nothing")
    parser.add_argument(
        "--ready-fd",
        type=int,
        metavar="N",
        help="write the endpoint to this descriptor once ready, then close it",
    )
    parser.add_argument(
        "--version", action="version", version=f"oodida-cloud {installed_version()}"
    )
    return parser


def _say_ready(fd: int | None, endpoint: str) -> None:
    if fd is None:
        return
    with os.fdopen(fd, "w", encoding="ascii") as pipe:
        pipe.write(f"{endpoint}\n")


if __name__ == "__main__":
    sys.exit(main())
