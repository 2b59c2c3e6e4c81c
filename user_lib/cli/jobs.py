"""Asking: ``oodida submit``, ``jobs``, ``results``, ``cancel``, ``explain``."""

import argparse
import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from user_lib.cli.options import (
    Subparsers,
    add_command,
    open_fleet,
    remark,
    show,
    show_encoded,
    show_json,
)
from user_lib.cli.status import FAILED, OK
from user_lib.contract.errors import ConfigError
from user_lib.contract.messages import Event, JobChanged, Result
from user_lib.contract.states import JobState

if TYPE_CHECKING:
    from user_lib.job import Job

__all__ = ["add_parser"]

_CHECKED = "{}: can be submitted; its signals and vehicles were not looked up, the cloud does that"


def add_parser(subparsers: Subparsers) -> None:
    """Add the commands of this group."""
    submit = add_command(
        subparsers, "submit", about="submit an assignment",
        example="oodida submit mean.yaml --follow --out results.jsonl",
    )  # fmt: skip
    submit.add_argument("spec", type=Path, help="YAML file in the assignment grammar")
    submit.add_argument(
        "--check",
        action="store_true",
        help="only check the file; send nothing, look up no signals and vehicles",
    )
    submit.add_argument(
        "--follow", action="store_true", help="show what comes back until the job ends"
    )
    _add_out(submit, "also write events as JSON lines")
    submit.set_defaults(run=_submit)
    jobs = add_command(subparsers, "jobs", about="list one's own jobs", example="oodida jobs")
    jobs.add_argument("--limit", type=int, default=20, help="how many at most, newest first (20)")
    jobs.set_defaults(run=_jobs)
    results = add_command(
        subparsers, "results", about="show what came back",
        example="oodida results job-0123456789 --follow --out results.jsonl",
    )  # fmt: skip
    results.add_argument("job", help="a job's id")
    results.add_argument("--follow", action="store_true", help="stay until the job ends")
    _add_out(results, "write events as JSON lines, from the first one on")
    results.set_defaults(run=_results)
    for name, about, run in (
        ("cancel", "end a job on every vehicle", _cancel),
        ("explain", "say where a job stands on each vehicle and what it waits for", _explain),
    ):
        command = add_command(
            subparsers, name, about=about, example=f"oodida {name} job-0123456789"
        )
        command.add_argument("job", help="a job's id")
        command.set_defaults(run=run)


def _add_out(command: argparse.ArgumentParser, about: str) -> None:
    command.add_argument(
        "--out", type=Path, metavar="FILE",
        help=f"{about}; what a file holds is replaced only with --force",
    )  # fmt: skip
    command.add_argument("--force", action="store_true", help="replace what FILE holds")


def _submit(args: argparse.Namespace) -> int:
    from user_lib.specs import read_spec

    spec = read_spec(args.spec, {})
    if args.check:
        show_json(spec.to_dict()) if args.json else show(_CHECKED.format(args.spec))
        return OK
    _check_out(args.out, force=args.force)
    with open_fleet(args) as fleet:
        job = fleet.assign(spec)
        if not args.follow and args.out is None:
            show_json(job.info) if args.json else show(job.id)
            return OK
        remark(f"job {job.id} on {', '.join(job.vehicles)}")
        with _lines_to(args.out) as out:
            return _follow(job, out, as_json=args.json, quiet=not args.follow)


def _results(args: argparse.Namespace) -> int:
    _check_out(args.out, force=args.force)
    with open_fleet(args) as fleet:
        job = fleet.job(args.job)
        with _lines_to(args.out) as out:
            if args.follow:
                return _follow(job, out, as_json=args.json, quiet=False)
            _show_events(job.events_so_far(), out, as_json=args.json, quiet=out is not None)
    return OK


def _jobs(args: argparse.Namespace) -> int:
    from user_lib.job import job_table  # `oodida --help` needs no sockets

    with open_fleet(args) as fleet:
        table = job_table(fleet.jobs(args.limit))
    show_json(list(table)) if args.json else show(repr(table))
    return OK


def _cancel(args: argparse.Namespace) -> int:
    with open_fleet(args) as fleet:
        state = fleet.job(args.job).cancel()
    show_json({"job": args.job, "state": state}) if args.json else show(f"{args.job}: {state}")
    return OK


def _explain(args: argparse.Namespace) -> int:
    with open_fleet(args) as fleet:
        job = fleet.job(args.job)
        show_json(job.explanation()) if args.json else show(job.explain())
    return OK


def _follow(job: "Job", out: TextIO | None, *, as_json: bool, quiet: bool) -> int:
    """Show and write events until the job ends; the exit code says whether it ended well."""
    _show_events(job.events(), out, as_json=as_json, quiet=quiet)
    info = job.info
    reason = f" ({info.reason})" if info.reason else ""
    remark(f"job {job.id} {info.state}{reason}")
    return OK if info.state is JobState.FINISHED else FAILED


def _show_events(
    events: Iterable[Event], out: TextIO | None, *, as_json: bool, quiet: bool
) -> None:
    from user_lib.job_file import event_line  # `oodida --help` needs no sockets

    for event in events:
        line = event_line(event)
        if out is not None:
            out.write(line + "\n")
            out.flush()
        if not quiet:
            show_encoded(line) if as_json else show(_words(event))


def _words(event: Event) -> str:
    from user_lib.results import Round, VehicleResult  # loads numpy

    item = event.item
    if isinstance(item, Result):
        result = VehicleResult(item)
        whole = result.ok or " ".join(item.detail.split()) in result.error_in_short
        return repr(result) + ("" if whole else f"; see `oodida explain {item.assignment_id}`")
    if not isinstance(item, JobChanged):
        return repr(Round(item))
    whose = f"{item.vehicle_id} {item.task_state or ''}" if item.vehicle_id else f"job {item.state}"
    why = item.detail or item.reason  # the reason is a word for programs
    why = why.rstrip().replace("\n", "\n  ")  # a line of its own would look like an event
    return f"{whose.rstrip()}: {why}" if why else whose.rstrip()


def _check_out(path: Path | None, *, force: bool) -> None:
    """Refuse a file for events that cannot be written or holds something, before anything is sent.

    Raises: ConfigError.
    """
    if path is None or (path.exists() and not path.is_file()):
        return  # a pipe or a terminal holds nothing, and would be closed by a try
    made = not os.path.lexists(path)
    with _opened(path, "a"):
        held = path.stat().st_size
    if made:
        path.unlink()  # it could be written; whether there is anything to write is not known yet
    if held and not force:
        raise ConfigError(f"{path}: holds {held} bytes; --force replaces them")


@contextlib.contextmanager
def _lines_to(path: Path | None) -> Iterator[TextIO | None]:
    """Open the file for events, when one is asked for, and empty it."""
    if path is None:
        yield None
        return
    with _opened(path, "w") as file:
        yield file


def _opened(path: Path, mode: Literal["a", "w"]) -> TextIO:
    try:
        return path.open(mode, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
