"""Active-code replacement: ``oodida code push``, ``status``, ``rollback``, ``remove``, ``try``."""

import argparse
import datetime as dt
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from user_lib.cli.decode import database
from user_lib.cli.options import (
    HelpFormatter,
    Subparsers,
    add_command,
    open_fleet,
    show,
    show_json,
)
from user_lib.cli.status import FAILED, OK
from user_lib.contract.errors import ConfigError

if TYPE_CHECKING:
    from agent.sandbox import Outcome
    from user_lib.code.slots import CodeUpdate
    from user_lib.contract.assignment import WindowSpec
    from user_lib.contract.window import Window

__all__ = ["add_parser"]

_ABOUT = "put custom code in force, see it, take it back, try it here"


def add_parser(subparsers: Subparsers) -> None:
    """Add the commands of this group."""
    group = subparsers.add_parser(
        "code", help=_ABOUT, description=_ABOUT[0].upper() + _ABOUT[1:] + ".",
        epilog="example:\n  oodida code push my_code.py", formatter_class=HelpFormatter,
    )  # fmt: skip
    commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    push = add_command(
        commands, "push", about="put a module in force on the vehicles (or in the cloud)",
        example="oodida code push my_code.py --vehicles compact-1,wagon-1",
    )  # fmt: skip
    push.add_argument("file", type=Path, help="module that defines custom(data, params)")
    push.add_argument(
        "--vehicles", type=lambda text: tuple(text.split(",")), metavar="ID,ID",
        help="only these get it (A/B)",
    )  # fmt: skip
    push.add_argument(
        "--not-after", type=dt.datetime.fromisoformat, metavar="TIME",
        help="no vehicle that gets it later arms it: 2026-05-01T08:00+02:00",
    )  # fmt: skip
    push.set_defaults(run=_push)
    status = add_command(
        commands, "status", about="show which version is in force where",
        example="oodida code status",
    )  # fmt: skip
    status.set_defaults(run=_status)
    rollback = add_command(
        commands, "rollback", about="put the slot's previous content that worked back",
        example="oodida code rollback --side offboard",
    )  # fmt: skip
    rollback.set_defaults(run=_rollback)
    remove = add_command(commands, "remove", about="empty the slot", example="oodida code remove")
    remove.set_defaults(run=_remove)
    for command in (push, rollback, remove):
        command.add_argument(
            "--side", choices=("onboard", "offboard"), default="onboard",
            help="the vehicles' slot (onboard) or the cloud's",
        )  # fmt: skip
        command.add_argument(
            "--wait", type=float, default=30.0, metavar="SECONDS",
            help="for the vehicles that are online (30)",
        )  # fmt: skip
    _add_try(commands)


def _add_try(commands: Subparsers) -> None:
    command = add_command(
        commands, "try", about="run a module here, in the vehicle's sandbox, on samples or a log",
        example="oodida code try my_code.py --samples 50,61.5,72\n"
        "  oodida code try my_code.py --on drive.log --dbc car.dbc --signals Brakes.Pressure",
        cloud=False,
    )  # fmt: skip
    command.add_argument("file", type=Path, help="module that defines custom")
    command.add_argument(
        "--samples", type=_numbers, default=None, metavar="X,X,…",
        help="what custom receives (the numbers 0 to 99)",
    )  # fmt: skip
    command.add_argument("--on", type=Path, metavar="LOG", help="a recorded log, as for decode")
    command.add_argument(
        "--dbc", action="append", type=database, metavar="[CHANNEL=]FILE",
        help="with --on: a database, for one channel or for all; repeatable",
    )  # fmt: skip
    command.add_argument("--mapping", type=Path, metavar="FILE", help="with --on: VSS mapping")
    command.add_argument(
        "--signals", type=lambda text: text.split(","), metavar="A,B",
        help="with --on: what the window holds",
    )  # fmt: skip
    command.add_argument(
        "--window", type=_window, default=None, metavar="N|SECONDSs",
        help="with --on: samples of the first signal (100), or seconds as in 2.5s",
    )  # fmt: skip
    command.add_argument(
        "--iterations", type=int, default=1, metavar="N",
        help="with --on: so many windows, state passed on (1)",
    )  # fmt: skip
    command.set_defaults(run=_try)


def _window(text: str) -> "WindowSpec":
    from user_lib.contract.assignment import WindowSpec

    try:
        if text.endswith("s"):
            return WindowSpec(seconds=float(text[:-1]))
        return WindowSpec(samples=int(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 100 nor 2.5s") from None


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as 1,2.5,3") from None


def _push(args: argparse.Namespace) -> int:
    with open_fleet(args) as fleet:
        update = fleet.update_code(
            args.file,
            side=args.side,
            vehicles=args.vehicles,
            not_after=_with_zone(args.not_after),
            timeout_s=args.wait,
        )
    return _show_update(update, as_json=args.json)


def _with_zone(moment: dt.datetime | None) -> dt.datetime | None:
    """Return a time that was written without a zone as this machine's own."""
    return moment.astimezone() if moment is not None and moment.tzinfo is None else moment


def _rollback(args: argparse.Namespace) -> int:
    with open_fleet(args) as fleet:
        update = fleet.rollback_code(side=args.side, timeout_s=args.wait)
    return _show_update(update, as_json=args.json)


def _remove(args: argparse.Namespace) -> int:
    with open_fleet(args) as fleet:
        update = fleet.remove_code(side=args.side, timeout_s=args.wait)
    return _show_update(update, as_json=args.json)


def _status(args: argparse.Namespace) -> int:
    with open_fleet(args) as fleet:
        overview = fleet.code_status()
    show_json(overview) if args.json else show(repr(overview))
    return OK


def _try(args: argparse.Namespace) -> int:
    from user_lib.code.try_out import try_code

    if args.on is None:
        return _show_outcome(try_code(args.file, args.samples or range(100)), args)
    state, status, tried = None, OK, 0
    for window in itertools.islice(_windows(args), args.iterations):
        tried += 1
        outcome = try_code(args.file, window, state=state, iteration=tried)
        state = outcome.state
        status = max(status, _show_outcome(outcome, args))
    if not tried:
        raise ConfigError(f"{args.on} ends before the first window is full; try a smaller --window")
    return status


def _windows(args: argparse.Namespace) -> "Iterator[Window]":
    from dbc import DatabaseRef
    from user_lib.code.try_out import windows_on_log
    from user_lib.contract.assignment import WindowSpec

    if not args.dbc or not args.signals:
        raise ConfigError(f"to read {args.on}, name its --dbc and the --signals that custom gets")
    databases = [DatabaseRef(path=path, channel=channel) for channel, path in args.dbc]
    window = args.window or WindowSpec(samples=100)
    return windows_on_log(args.on, databases, args.signals, window, args.mapping)


def _show_outcome(outcome: "Outcome", args: argparse.Namespace) -> int:
    if args.json:
        show_json(outcome)
    else:
        show(outcome.prints.rstrip()) if outcome.prints else None
        show(str(outcome.value) if outcome.ok else f"{outcome.reason}: {outcome.detail}")
    return OK if outcome.ok else FAILED


def _show_update(update: "CodeUpdate", *, as_json: bool) -> int:
    """Show what became of a change; it failed if a vehicle refused it or has not answered."""
    if as_json:
        show_json({"slot": update.slot, "call_ms": update.call_ms, "latency": update.latency})
    else:
        show(repr(update))
    return FAILED if update.refused or update.pending else OK
