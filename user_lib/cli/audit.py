"""``oodida audit``: read and check the audit log of a vehicle or of the cloud, on its machine."""

import argparse
import datetime as dt
from collections import deque
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from user_lib.cli.options import Subparsers, add_command, show, show_encoded, show_json
from user_lib.cli.status import FAILED, OK
from user_lib.contract.errors import ConfigError, nearest
from user_lib.contract.escaping import escaped
from user_lib.wire.audit_entry import EVENTS, Entry
from user_lib.wire.audit_reading import Checked, check, find_logs, read

__all__ = ["add_parser"]

_MORE = """\
The log is on the vehicle (state_dir/audit) and on the cloud's machine (beside the ledger:
cloud.audit for cloud.db). Without a directory it is looked for where the packaged
services have it, /var/lib/oodida-agent and /var/lib/oodida-cloud, and where a cloud
that you started yourself has it by default, ~/.local/state/oodida: where there are
several, all of them are shown, each under its name. It is readable by the service's own
user and root. A line an event: who, which job, what code (sha256), which signals, by
which rule it was refused, how many results and bytes left.

--check follows the chain of hashes through all lines and shows the newest hash. Kept
elsewhere, it proves later (--check --noted HASH) that nothing before it was changed.
Exit code 1: something is missing or was changed."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers, "audit", about="read who did what, on a vehicle or the cloud's machine",
        example="oodida audit /var/lib/oodida-agent --analyst ada --since 2026-05-01",
        cloud=False, more=_MORE,
    )  # fmt: skip
    parser.add_argument(
        "directory",
        type=Path,
        nargs="?",
        help="the log, the state_dir, or the ledger's directory; default: all of this machine",
    )
    parser.add_argument("--analyst", metavar="NAME", help="whose doing it was, by pattern")
    parser.add_argument("--job", metavar="ID")
    parser.add_argument("--vehicle", metavar="ID", help="by pattern")
    parser.add_argument(
        "--event", type=_event, metavar="WORD", help="such as accepted, refused, ended"
    )
    parser.add_argument(
        "--since", type=_time, metavar="TIME", help="UTC, such as 2026-05-01 or ...T08:00"
    )
    parser.add_argument("--until", type=_time, metavar="TIME", help="before that")
    parser.add_argument("--last", type=_number, metavar="N", help="the newest N of each log")
    parser.add_argument("--check", action="store_true", help="look for changed or missing lines")
    parser.add_argument("--noted", default="", metavar="HASH", help="with --check: a hash of then")
    parser.set_defaults(run=_audit)


def _event(text: str) -> str:
    if text in EVENTS:
        return text
    near = nearest(text, sorted(EVENTS))
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    there_are = f"there are {', '.join(sorted(EVENTS))}"
    raise argparse.ArgumentTypeError(f"{text!r} is no event; {hint}{there_are}")


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of entries; give 1 or more")


def _time(text: str) -> str:
    """Return a time as entries have it; without a zone it is UTC."""
    try:
        moment = dt.datetime.fromisoformat(text)
        utc = moment.astimezone(dt.UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 2026-05-01 or 2026-05-01T08:00 (UTC)"
        ) from None
    return utc.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _audit(args: argparse.Namespace) -> int:
    logs = find_logs(args.directory)
    if args.check:
        return _check(args, logs)
    if args.noted:
        raise ConfigError("--noted goes with --check")
    for directory in logs:
        if len(logs) > 1 and not args.json:
            show(f"{directory}:")
        _show_log(args, directory)
    return OK


def _show_log(args: argparse.Namespace, directory: Path) -> None:
    found: Iterable[Entry] = _wanted(args, directory)
    if args.last is not None:
        found = deque(found, maxlen=args.last)
    for entry in found:
        if args.json:
            named = {"log": str(directory), **msgspec.to_builtins(entry)}
            show_encoded(msgspec.json.encode(named).decode())
        else:
            show(escaped(_words(entry)))


def _wanted(args: argparse.Namespace, directory: Path) -> Iterator[Entry]:
    for entry in read(directory):
        by_name = ((args.analyst, entry.who), (args.job, entry.job), (args.vehicle, entry.vehicle))
        if any(p is not None and not fnmatchcase(text, p) for p, text in by_name):
            continue
        if args.event is not None and entry.event != args.event:
            continue
        if args.since is not None and entry.at < args.since:
            continue
        if args.until is None or entry.at < args.until:
            yield entry


def _words(entry: Entry) -> str:
    parts = [entry.at, f"{entry.event:<12}"]
    named = msgspec.structs.asdict(entry)
    for key in ("who", "job", "vehicle", "method", "reason", "rule", "results", "bytes"):
        if named[key]:
            parts.append(f"{key}={named[key]}")
    if entry.signals:
        parts.append(f"signals={','.join(entry.signals)}")
    parts += [f"{key}={named[key][:12]}" for key in ("code", "policy") if named[key]]
    if entry.detail:
        parts.append(" ".join(entry.detail.split()))
    return " ".join(parts)


def _check(args: argparse.Namespace, logs: Iterable[Path]) -> int:
    found = {directory: check(directory, args.noted) for directory in logs}
    unknown = bool(args.noted) and all(one.noted_at is None for one in found.values())
    broken = False
    for directory, one in found.items():
        problems = list(one.problems)
        if unknown:
            problems.append(f"no entry has the noted hash {args.noted}")
        broken = broken or bool(problems)
        if args.json:
            show_json({**_plain(one), "directory": str(directory), "problems": problems})
        else:
            _show_checked(directory, one, problems)
    return FAILED if broken else OK


def _show_checked(directory: Path, found: Checked, problems: list[str]) -> None:
    show(f"{directory}: {found.entries} entries, {found.first} to {found.last}")
    for problem in problems:
        show(f"  {problem}")
    if found.noted_at is not None:
        show(f"entry {found.noted_at} has the noted hash: nothing up to it was changed since")
    show("something was changed or removed" if problems else f"unbroken; newest hash {found.chain}")


def _plain(found: object) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(found)
    return plain
