"""``oodida replay``: a recorded or simulated drive on a CAN interface, for developers."""

import argparse
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from user_lib.cli.options import Subparsers, add_command, show, show_json
from user_lib.cli.status import FAILED, OK
from user_lib.contract.errors import SourceError, nearest
from user_lib.progress import Progress

if TYPE_CHECKING:
    from hw.replay import Playable
    from user_lib.contract.frames import FrameBatch
    from user_lib.replay.faults import Fault
    from user_lib.replay.player import Played, Target

__all__ = ["add_parser"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    command = add_command(
        subparsers, "replay", cloud=False,
        about="play a recorded log or a simulated car onto a CAN interface, in real time",
        example="oodida replay drive.log --channel vcan0 --loop\n"
        "  oodida replay --simulated compact --channel can0=vcan0 --channel can1=vcan1",
    )  # fmt: skip
    command.add_argument("log", nargs="?", type=Path, metavar="LOG", help="any format of decode")
    command.add_argument("--simulated", metavar="MODEL", help="a simulated car in place of a log")
    command.add_argument("--seed", type=int, default=0, help="of its drive, and of faults")
    command.add_argument(
        "--channel", action="append", required=True, type=_channel, metavar="[FROM=]TO",
        help="the interface's channel; for one channel of the log only, or for all; repeatable",
    )  # fmt: skip
    command.add_argument(
        "--interface", default="socketcan", metavar="NAME", help="of python-can (socketcan)"
    )
    command.add_argument("--speed", type=_positive, default=1.0, help="times faster than recorded")
    command.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    command.add_argument("--duration", type=_positive, metavar="S", help="end after S seconds")
    faults = command.add_argument_group("faults on demand")
    faults.add_argument(
        "--gaps", type=_gaps, metavar="EVERY:LENGTH",
        help="silence: 10:0.5 leaves half a second out every ten seconds",
    )  # fmt: skip
    faults.add_argument(
        "--wrong-counters", type=_share, metavar="SHARE",
        help="0.01: one frame in a hundred repeats the payload before, its counter included",
    )  # fmt: skip
    faults.add_argument(
        "--load", type=_percent, metavar="PERCENT",
        help="fill each bus with frames of the lowest priority (0x7FF) up to this load",
    )  # fmt: skip
    faults.add_argument(
        "--bitrate", type=int, default=500_000, metavar="BIT/S", help="for --load (500000)"
    )
    command.add_argument(
        "--real-bus", action="store_true", help="send on a real controller, not only on vcan"
    )
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    """Play until the end, the duration, or Ctrl-C; then say what was sent.

    Raises: OodidaError, for a bad log, model or interface; the entry says so and returns 2.
    """
    from user_lib.contract.clock import SystemClock
    from user_lib.replay.faults import with_faults
    from user_lib.replay.player import Player, open_targets

    played = _playable(args)
    targets = _targets(args, played.channels)
    with ExitStack() as opening:
        buses = open_targets(targets, opening, real_bus=args.real_bus)
        player = Player(buses, SystemClock(), speed=args.speed)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: player.stop())
        progress = Progress(shown=not args.json)
        batches = with_faults(_stream(played, loop=args.loop), _faults(args, len(played.channels)))
        done = player.play(
            batches, duration_s=args.duration, tell=lambda now: progress.say(_words(now))
        )
        progress.close()
    show_json(done) if args.json else show(_words(done))
    return FAILED if done.refused else OK


def _playable(args: argparse.Namespace) -> "Playable":
    if (args.log is None) == (args.simulated is None):
        raise SourceError("give a LOG, or --simulated MODEL: one of the two")
    if args.simulated is not None:
        from hw import SimulatedDrive

        return SimulatedDrive(args.simulated, seed=args.seed)
    from hw import read_log
    from hw.replay import Recorded

    return Recorded(read_log(args.log), {})


def _stream(played: "Playable", *, loop: bool) -> "Iterable[FrameBatch]":
    from hw.replay import Looped

    return Looped(played) if loop else played


def _targets(args: argparse.Namespace, channels: Sequence[str]) -> "Mapping[int, Target]":
    from user_lib.replay.player import Target

    wanted: dict[str | None, str] = dict(args.channel)
    for name in wanted:
        if name is not None and name not in channels:
            near = nearest(name, channels) or tuple(channels)
            raise SourceError(
                f"--channel {name}=…: there is no channel {name!r}; there is "
                f"{', '.join(map(repr, near))}"
            )
    to = {bus: wanted.get(name, wanted.get(None)) for bus, name in enumerate(channels)}
    return {
        bus: Target(args.interface, channel) for bus, channel in to.items() if channel is not None
    }


def _faults(args: argparse.Namespace, buses: int) -> "list[Fault]":
    from user_lib.replay.faults import busy, gaps, stale_counters

    faults: list[Fault] = []
    if args.wrong_counters is not None:
        faults.append(stale_counters(args.wrong_counters, args.seed))
    if args.load is not None:
        faults.append(busy(args.load, args.bitrate, buses))
    if args.gaps is not None:
        faults.append(gaps(*args.gaps))
    return faults


def _words(played: "Played") -> str:
    words = f"{played.sent} frames sent in {played.seconds:.0f} s"
    if played.latest_ms >= 1:
        words += f", at most {played.latest_ms:.0f} ms late"
    if played.skipped:
        words += f", {played.skipped} left out (no interface for their channel, or error frames)"
    if played.refused:
        words += f", {played.refused} not taken by the interface: is it up?"
    return words


def _channel(text: str) -> tuple[str | None, str]:
    source, equals, target = text.partition("=")
    return (source, target) if equals else (None, text)


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def _percent(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not a percentage")
    return value


def _gaps(text: str) -> tuple[float, float]:
    every, colon, length = text.partition(":")
    if not colon or not 0 < float(length) < float(every):
        raise argparse.ArgumentTypeError(f"{text} is not EVERY:LENGTH, such as 10:0.5")
    return float(every), float(length)
