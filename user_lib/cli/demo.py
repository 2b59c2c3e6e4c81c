"""``oodida demo``: the whole platform at work on this machine, no set-up."""

import argparse
import sys

from user_lib.cli.options import Subparsers, add_command, show_json
from user_lib.cli.status import FAILED, INTERRUPTED, OK

__all__ = ["add_parser"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    demo = add_command(
        subparsers, "demo", cloud=False, example="oodida demo --keep",
        about="start a cloud and four simulated vehicles, ask them, swap code, clean up (a minute)",
    )  # fmt: skip
    demo.add_argument("--keep", action="store_true", help="leave the fleet running until Ctrl-C")
    demo.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from user_lib.demo.run import run_demo

    try:
        outcome = run_demo(sys.stderr if args.json else sys.stdout, keep=args.keep)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; every process of the demo has ended\n")
        return INTERRUPTED
    if args.json:
        show_json(outcome)
    return FAILED if outcome.unseen else OK
