"""What an analyst should know of a decoded log: options that came to nothing, and why none did."""

from collections.abc import Iterable, Mapping, Sequence

from agent.signals.quality.frame_time import Bitrate
from dbc import DatabaseRef, DecodeStats
from user_lib.contract.frames import ERROR, EXTENDED, FrameBatch

__all__ = ["has_long_identifiers", "unheard", "why_nothing"]


def has_long_identifiers(batch: FrameBatch) -> bool:
    """Return whether frames of a batch have identifiers of 29 bits, as all of J1939 have."""
    return bool(((batch.flags & (EXTENDED | ERROR)) == EXTENDED).any())


def unheard(
    databases: Iterable[DatabaseRef], bitrates: Mapping[str, Bitrate], channels: Sequence[str]
) -> list[str]:
    """Say which databases and bit rates are for channels that the log does not have."""
    wanted = [(ref.path.name, ref.channel) for ref in databases if ref.channel is not None]
    wanted += [(f"bit rate {rate.bitrate}", name) for name, rate in bitrates.items() if name]
    heard = _listed(channels)
    return [
        f"{what} is for channel {channel!r}, which the log does not have; its channels: {heard}"
        for what, channel in wanted
        if channel not in channels
    ]


def why_nothing(
    databases: Sequence[DatabaseRef],
    channels: Sequence[str],
    stats: DecodeStats,
    *,
    long_identifiers: bool,
) -> str:
    """Say why no value at all came out of a log."""
    why = "nothing was decoded: "
    matched = stats.frames - stats.unmatched_frames
    if not stats.frames:
        return why + "the log has no frames"
    if stats.frames == stats.remote_frames + stats.error_frames:
        return why + "all frames of the log are remote or error frames"
    if matched and matched == stats.transport_frames:
        return why + "the log has parts of longer payloads only, and no payload is complete"
    if any(message.unknown_switch_frames for message in stats.messages.values()):
        return why + (
            "every frame that the databases know has an unknown multiplexer value; "
            "--keep-unknown-pages keeps what is not multiplexed"
        )
    if matched:
        return why + "the frames that the databases know hold no signal"
    if all(ref.channel is not None and ref.channel not in channels for ref in databases):
        return why + f"no database is for a channel of the log: {_listed(channels)}"
    hint = long_identifiers and not any(ref.j1939 for ref in databases)
    return (
        why
        + f"no frame's identifier is in the databases of its channel ({_listed(channels)})"
        + ("; for J1939 give --j1939" if hint else "")
    )


def _listed(channels: Sequence[str]) -> str:
    return ", ".join(map(repr, channels)) or "none"
