"""Entry of the command ``oodida``: the parser, the exit codes, the words for what went wrong."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import msgspec

import user_lib
from user_lib.cli import audit, code, decode, demo, doctor, fleet, jobs, keys, replay
from user_lib.cli.options import HelpFormatter, remark
from user_lib.cli.status import BAD_INPUT, FAILED, INTERRUPTED, NO_CLOUD, PIPE_CLOSED
from user_lib.contract.errors import (
    LinkError,
    LinkRefused,
    OodidaError,
    ProtocolError,
    Rejected,
    SignatureError,
)
from user_lib.contract.escaping import LINES, escaped

__all__ = ["build_parser", "main"]

_EPILOG = """\
exit codes:
  0    done
  1    the job failed or was cancelled, doctor found what is broken, or the cloud refused the
       request or the key
  2    wrong usage or input: an option, an assignment, a custom module, a file
  3    no cloud answered
  130  interrupted with Ctrl-C

where the cloud is: --cloud, else OODIDA_CLOUD, else `cloud:` in
~/.config/oodida/analyst.yaml (or the file that OODIDA_CONFIG names), else
tcp://127.0.0.1:5570; who asks: the name on the keys, given by --key and
--cloud-key, OODIDA_KEY and OODIDA_CLOUD_KEY, or `keys:` in the file.

examples:
  oodida demo                         see the whole platform at work, no set-up
  oodida vehicles                     who is there
  oodida submit mean.yaml --follow    ask a question and watch the answers
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; ``args.run(args)`` is the exit code."""
    parser = argparse.ArgumentParser(
        prog="oodida",
        description="Ask a fleet of vehicles questions and swap the code that answers them.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"oodida {user_lib.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (demo, fleet, jobs, doctor, code, keys, audit, decode, replay):
        group.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Remarks("%(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    args = build_parser().parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from flushing into the void.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt:
        jobs_go_on = "; jobs in the cloud go on (oodida cancel JOB ends one)"
        sys.stderr.write(f"\ninterrupted{jobs_go_on if 'cloud' in args else ''}\n")
        return INTERRUPTED
    except (OodidaError, OSError, TimeoutError) as error:
        _report(error, as_json=getattr(args, "json", False))
        return _status_of(error)
    return status


class _Remarks(logging.Formatter):
    """Warnings for a person, who may read them on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record), keep=LINES)


def _status_of(error: Exception) -> int:
    if isinstance(error, (LinkRefused, ProtocolError, Rejected, SignatureError, TimeoutError)):
        return FAILED
    if isinstance(error, LinkError):
        return NO_CLOUD
    return BAD_INPUT


def _report(error: Exception, *, as_json: bool) -> None:
    """Say what went wrong on stderr: a line for a person, an object for a program."""
    if not as_json:
        remark(f"oodida: {error}")
        return
    plain = {
        "error": type(error).__name__,
        "message": str(error),
        "reason": getattr(error, "reason", ""),
        "path": getattr(error, "path", ""),
        "near": list(getattr(error, "near", ())),
    }
    sys.stderr.write(msgspec.json.encode(plain).decode() + "\n")
