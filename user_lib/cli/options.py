"""What the commands share: options, the connection, and the two ways to show an answer."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from user_lib.contract.escaping import LINES, escaped
from user_lib.plain import plain

if TYPE_CHECKING:
    from user_lib.fleet import Fleet

__all__ = [
    "HelpFormatter",
    "Subparsers",
    "add_command",
    "open_fleet",
    "remark",
    "show",
    "show_encoded",
    "show_json",
]

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = object


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps examples as they are written."""


def add_command(
    subparsers: Subparsers,
    name: str,
    *,
    about: str,
    example: str,
    cloud: bool = True,
    more: str = "",
) -> argparse.ArgumentParser:
    """Add a command with ``--json`` and, unless it works without one, the cloud's options.

    ``more`` stands below the example in the command's help.
    """
    parser = subparsers.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=f"example:\n  {example}" + (f"\n\n{more}" if more else ""),
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="answer in JSON, for programs")
    if cloud:
        parser.add_argument("--cloud", metavar="ADDRESS", help="such as tcp://127.0.0.1:5570")
        parser.add_argument("--user", metavar="NAME", help="who asks, without keys")
        parser.add_argument("--key", type=Path, metavar="FILE", help="your own secret keys")
        parser.add_argument("--cloud-key", type=Path, metavar="FILE", help="the cloud's card")
        parser.add_argument(
            "--insecure", action="store_true", help="no keys; the cloud is on this machine"
        )
        parser.add_argument(
            "--timeout", type=float, metavar="SECONDS", help="for an answer of the cloud (5)"
        )
    return parser


def open_fleet(args: argparse.Namespace) -> "Fleet":
    """Connect as the options, the environment and the analyst's file say."""
    from user_lib.fleet import connect  # `oodida --help` needs no sockets

    given = {"own": args.key, "cloud": args.cloud_key}
    return connect(
        args.cloud,
        args.user,
        timeout_s=args.timeout,
        keys={name: str(path) for name, path in given.items() if path is not None},
        insecure=args.insecure,
    )


def show(text: str) -> None:
    """Write lines for a person to stdout; whatever is in them, they do not steer the terminal."""
    show_encoded(escaped(text, keep=LINES))


def remark(text: str) -> None:
    """Write lines for a person to stderr, beside the answer; as `show`."""
    sys.stderr.write(escaped(text, keep=LINES) + "\n")


def show_encoded(text: str) -> None:
    """Write a line as it is, such as JSON, at once, so that a pipe sees what a person would."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show_json(value: Any) -> None:  # noqa: ANN401 - anything that msgspec can encode
    """Write a value as JSON: indented for a person who looks, a line for a program."""
    encoded = msgspec.json.encode(plain(value))
    if os.isatty(sys.stdout.fileno()):
        encoded = msgspec.json.format(encoded)
    show_encoded(encoded.decode())
