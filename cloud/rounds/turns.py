"""How rounds open and close: who is a member, when the deadline is, what waits for its value."""

from collections.abc import Iterable

from cloud.rounds.closing import close
from cloud.rounds.model import (
    MAX_CLOSING,
    MAX_OPEN,
    Aggregate,
    Closed,
    Closing,
    Command,
    Opened,
    Overrun,
    Round,
    Rounds,
    Skipped,
)
from user_lib.contract.ids import VehicleId

__all__ = ["close_due", "close_round", "due_of", "note_silence", "open_next", "open_round"]


def open_next(state: Rounds, now_ns: int, commands: list[Command]) -> None:
    """Open the next round, if it is its turn and somebody is there."""
    if not _may_open(state):
        return
    able = _able(state)
    if not any(state.members[v].online for v in able):
        return
    number = state.newest + 1
    if not state.rules.feedback:
        number = max(number, min(state.members[v].position + 1 for v in able))
    last = state.rules.last_round
    if last is None or number <= last:
        open_round(state, number, now_ns, commands)


def _may_open(state: Rounds) -> bool:
    last = state.rules.last_round
    return (
        state.started
        and not state.rules.stream
        and state.ending is None
        and not state.open
        and (last is None or state.newest < last)
        and not (state.rules.feedback and state.closing)
    )


def _able(state: Rounds) -> list[VehicleId]:
    """Vehicles that may be members of the next round."""
    caught_up = 0 if state.rules.feedback else state.newest - 1
    return [
        v
        for v, m in state.members.items()
        if not m.missed or (m.online and (not m.away or m.position >= caught_up))
    ]


def open_round(state: Rounds, number: int, now_ns: int, commands: list[Command]) -> None:
    """Open a round with the vehicles that may be its members; without any it is passed over."""
    members = {
        v for v in _able(state) if state.members[v].position < number or state.rules.feedback
    }
    state.newest = number
    if not members:
        return
    round_ = Round(number, members, set(members))
    state.open[number] = round_
    note_silence(state, round_, now_ns)
    commands.append(Opened(number, frozenset(members)))
    if len(state.open) > MAX_OPEN:
        oldest = next(iter(state.open.values()))
        closing = close_round(state, oldest, commands)
        if not state.overrun:
            state.overrun = True
            commands.append(Overrun(closing.number, closing.missing))


def due_of(state: Rounds, round_: Round) -> int | None:
    """Return when a round's deadline is; None while it does not run."""
    heard_ns, silent_ns = round_.heard_ns, round_.silent_ns
    if heard_ns is None or (silent_ns is not None and silent_ns < heard_ns):
        heard_ns = silent_ns
    return None if heard_ns is None else heard_ns + state.rules.deadline_ns


def close_due(state: Rounds, now_ns: int | None, commands: list[Command]) -> None:
    """Close the rounds that everybody answered, or whose deadline has come by ``now_ns``."""
    ready = [r for r in state.open.values() if not r.pending or _is_over(state, r, now_ns)]
    for round_ in ready:
        close_round(state, round_, commands)


def _is_over(state: Rounds, round_: Round, now_ns: int | None) -> bool:
    due = None if now_ns is None else due_of(state, round_)
    return due is not None and now_ns is not None and due <= now_ns


def close_round(state: Rounds, round_: Round, commands: list[Command]) -> Closing:
    """Close a round with what it has, and queue it for its value."""
    closing = close(state, round_)
    del state.open[round_.number]
    _miss(state, round_.pending)
    commands.append(Closed(closing))
    state.closing.append(closing)
    if len(state.closing) == 1:
        commands.append(Aggregate(closing))
    elif len(state.closing) > MAX_CLOSING:
        first = state.closing.popleft()
        commands.append(Skipped(state.closing.popleft()))
        state.closing.appendleft(first)
    return closing


def _miss(state: Rounds, vehicles: Iterable[VehicleId]) -> None:
    for vehicle in vehicles:
        member = state.members.get(vehicle)
        if member is not None:
            member.missed, member.away = True, not member.online


def note_silence(state: Rounds, round_: Round, now_ns: int) -> None:
    """Keep since when none of those that a round waits for has been online."""
    if any(state.members[v].online for v in round_.pending if v in state.members):
        round_.silent_ns = None
    elif round_.silent_ns is None:
        round_.silent_ns = now_ns
