"""The machine that opens and closes rounds: `step`, and questions about its state.

Rules, in the order in which they apply:

- A round opens when the one before it closed (with feedback: when its off-board value is there) and
  at least one vehicle that may be a member is online; without feedback also when the first answer
  to it arrives, since vehicles run ahead. Before the start time none opens.
- Its members are fixed then: every vehicle that holds or should hold the task, except those that
  already answered a later iteration, and those that missed the last round and either are still
  offline or returned and lag more than a round behind: their results are late until they caught up
  (with feedback a straggler jumps, so it is a member at once).
  A vehicle that refuses the task leaves the open rounds too; one whose task failed has answered;
  one whose task ended otherwise is missing from the rounds that it did not answer, and so is one
  that had to drop its answer.
- It closes as complete once every member answered. At its deadline it closes as complete with a
  quorum, else short. The deadline counts from the first answer to this or a later round, or from
  the moment the last pending member went offline, whichever is first. Only time itself (`Tick`)
  closes by it, which passes once everything was heard that had come: a cloud that stood still
  holds that against nobody.
- An answer to a closed round, or to one that the vehicle is no member of, is late: it changes
  nothing. So is one that is more than `MAX_OPEN` rounds ahead: one vehicle cannot drag the others.
- Closed rounds get their off-board value one after the other.
- The assignment ends with the last round's value, at its duration, when `until` is met, when it is
  cancelled, when a feedback round is short, or when no vehicle holds a task any more. It has failed
  when no task came to a good end, when all its rounds together hold nothing but failures, or when
  the off-board method failed in every one.
"""

from cloud.rounds.model import (
    MAX_OPEN,
    Aggregate,
    Aggregated,
    Answer,
    Answered,
    Cancelled,
    Closing,
    Command,
    Ended,
    Event,
    Expected,
    Expired,
    Left,
    Lost,
    Offline,
    Online,
    Round,
    Rounds,
    Started,
    Tick,
)
from cloud.rounds.turns import (
    close_due,
    close_round,
    due_of,
    note_silence,
    open_next,
    open_round,
)
from cloud.rounds.words import failures, shortfall
from user_lib.contract.ids import VehicleId
from user_lib.contract.states import JobState, RoundState, TaskState

__all__ = ["counts", "due_ns", "first_iteration", "step"]


def step(state: Rounds, event: Event, now_ns: int) -> list[Command]:
    """Apply one event to ``state`` and return what must be done, in order.

    Units: ``now_ns``, ns of a clock that never goes back. After `Ended` nothing follows any event.
    """
    if state.ended:
        return []
    commands: list[Command] = []
    _apply(state, event, now_ns, commands)
    if not state.ended:
        close_due(state, now_ns if isinstance(event, Tick) else None, commands)
        open_next(state, now_ns, commands)
        _end_if_over(state, commands)
    return commands


def counts(state: Rounds, vehicle: VehicleId, iteration: int) -> bool:
    """Whether an answer to ``iteration`` would count; otherwise it is late."""
    member = state.members.get(vehicle)
    if member is None or state.ended or state.ending is not None:
        return False
    if state.rules.stream:
        return True
    round_ = state.open.get(iteration)
    if round_ is not None:
        return vehicle in round_.pending
    return (
        not state.rules.feedback
        and state.newest < iteration <= state.newest + MAX_OPEN
        and iteration > member.position
        and (state.rules.last_round is None or iteration <= state.rules.last_round)
    )


def due_ns(state: Rounds) -> int | None:
    """When the next deadline is; None while no deadline runs."""
    dues = [due for r in state.open.values() if (due := due_of(state, r)) is not None]
    return min(dues, default=None)


def first_iteration(state: Rounds, vehicle: VehicleId) -> int:
    """Where a vehicle without a position of its own begins: with the rounds that are open."""
    member = state.members.get(vehicle)
    own = 1 if member is None else member.position + 1
    if state.rules.stream:
        return own
    if state.rules.feedback:
        return max(state.newest, 1)
    waiting = [r.number for r in state.open.values() if vehicle in r.pending]
    return max(own, min(waiting, default=state.newest + 1))


# --- events --------------------------------------------------------------------------------------


def _apply(state: Rounds, event: Event, now_ns: int, commands: list[Command]) -> None:
    match event:
        case Answered(answer):
            _answered(state, answer, now_ns, commands)
        case Online(vehicle):
            _set_online(state, vehicle, now_ns, online=True)
        case Offline(vehicle):
            _set_online(state, vehicle, now_ns, online=False)
        case Left():
            _left(state, event, now_ns)
        case Lost(vehicle, iterations):
            _lost(state, vehicle, iterations, now_ns)
        case Aggregated():
            _aggregated(state, event, commands)
        case _:
            _assignment_changed(state, event, now_ns, commands)


def _assignment_changed(state: Rounds, event: Event, now_ns: int, commands: list[Command]) -> None:
    match event:
        case Started():
            state.started = True
        case Expected(versions):
            state.split = versions is not None
            for vehicle, member in state.members.items():
                member.expected = (versions or {}).get(vehicle, "")
        case Expired():
            _expire(state, commands)
        case Cancelled():
            _end(state, Ended(JobState.CANCELLED, "cancelled"), commands)
        case _:
            assert isinstance(event, Tick)  # noqa: S101 - the type checker's proof


def _answered(state: Rounds, answer: Answer, now_ns: int, commands: list[Command]) -> None:
    member = state.members.get(answer.vehicle)
    if member is None:
        return
    accepted = counts(state, answer.vehicle, answer.iteration)
    _set_online(state, answer.vehicle, now_ns, online=True)
    state.started = True
    if accepted:
        member.missed = member.away = False
    if accepted and not state.rules.stream:
        while state.newest < answer.iteration:
            open_round(state, state.newest + 1, now_ns, commands)
        round_ = state.open[answer.iteration]
        round_.answers[answer.vehicle] = answer
        round_.pending.discard(answer.vehicle)
    member.position = max(member.position, answer.iteration)
    for round_ in state.open.values():
        if round_.heard_ns is None and _heard(round_, answer):
            round_.heard_ns = now_ns


def _heard(round_: Round, answer: Answer) -> bool:
    """Whether an answer starts a round's deadline: its own first one, or a member running past."""
    if round_.number > answer.iteration:
        return False
    return answer.vehicle in round_.pending or answer.vehicle in round_.answers


def _set_online(state: Rounds, vehicle: VehicleId, now_ns: int, *, online: bool) -> None:
    member = state.members.get(vehicle)
    if member is None or member.online == online:
        return
    member.online = online
    member.away = member.away or (member.missed and not online)
    for round_ in state.open.values():
        if vehicle in round_.pending:
            note_silence(state, round_, now_ns)


def _left(state: Rounds, event: Left, now_ns: int) -> None:
    if event.vehicle not in state.members:
        return
    del state.members[event.vehicle]
    if event.state is TaskState.FINISHED:
        state.finished_tasks += 1
    else:
        state.failures[event.vehicle] = event.reason or event.state
    for round_ in list(state.open.values()):
        if event.vehicle not in round_.pending:
            continue
        round_.pending.discard(event.vehicle)
        if event.state is TaskState.FAILED:
            round_.answers[event.vehicle] = _failed_answer(event, round_.number)
        elif event.state is TaskState.REJECTED:
            round_.members.discard(event.vehicle)
        note_silence(state, round_, now_ns)
        if not round_.pending and not round_.answers:
            _forget(state, round_)


def _lost(
    state: Rounds, vehicle: VehicleId, iterations: tuple[tuple[int, int], ...], now_ns: int
) -> None:
    member = state.members.get(vehicle)
    if member is None or not iterations:
        return
    member.position = max(member.position, iterations[-1][1])
    for round_ in state.open.values():
        if any(first <= round_.number <= last for first, last in iterations):
            round_.pending.discard(vehicle)
            note_silence(state, round_, now_ns)


def _failed_answer(event: Left, number: int) -> Answer:
    return Answer(
        vehicle=event.vehicle, iteration=number, ok=False, reason=f"task ended: {event.reason}"
    )


def _forget(state: Rounds, round_: Round) -> None:
    """Nobody is left in a round, and nobody answered: it waits for other members, or is no more."""
    del state.open[round_.number]
    if round_.number == state.newest:
        state.newest = round_.number - 1


def _aggregated(state: Rounds, event: Aggregated, commands: list[Command]) -> None:
    if not state.closing or state.closing[0].number != event.number:
        return
    closing = state.closing.popleft()
    state.fruitful |= bool(closing.parts) and not event.error
    state.in_vain = closing.failed or state.in_vain
    state.no_value = event.error or state.no_value
    if event.until_met:
        _end(state, Ended(JobState.FINISHED, "until", "the stop criterion is met"), commands)
    elif _too_short(state, closing):
        _end(state, Ended(JobState.FAILED, "quorum_not_met", shortfall(state, closing)), commands)
    elif state.closing:
        commands.append(Aggregate(state.closing[0]))


def _too_short(state: Rounds, closing: Closing) -> bool:
    """Whether a round that the next one needs did not reach its quorum."""
    return state.rules.feedback and closing.state is RoundState.SHORT and state.ending is None


def _well(state: Rounds, ended: Ended) -> Ended:
    """Return a good end, unless no round ever had a value."""
    if state.fruitful or not (state.in_vain or state.no_value):
        return ended
    if state.no_value:
        said = f"no round has a value: {state.no_value}; job.results() holds the vehicles' own"
        return Ended(JobState.FAILED, "no_value", said)
    said = f"{failures(state.in_vain)}; job.results() holds the whole of each error"
    return Ended(JobState.FAILED, "no_result", said)


def _expire(state: Rounds, commands: list[Command]) -> None:
    """Close what has answers, and end once it has its value."""
    for round_ in list(state.open.values()):
        if round_.answers:
            close_round(state, round_, commands)
    state.open.clear()
    state.ending = Ended(JobState.FINISHED, "duration", "its duration is over")


# --- ending --------------------------------------------------------------------------------------


def _end_if_over(state: Rounds, commands: list[Command]) -> None:
    if state.ended or state.open or state.closing:
        return
    last = state.rules.last_round
    if state.ending is not None:
        _end(state, _well(state, state.ending), commands)
    elif not state.members and not state.finished_tasks:
        _end(state, Ended(JobState.FAILED, "no_task_left", failures(state.failures)), commands)
    elif not state.rules.stream and last is not None and state.newest >= last:
        _end(state, _well(state, Ended(JobState.FINISHED, "iterations")), commands)
    elif not state.members:
        tasks_ended = Ended(JobState.FINISHED, "tasks_ended", "every vehicle's task has ended")
        _end(state, _well(state, tasks_ended), commands)


def _end(state: Rounds, ended: Ended, commands: list[Command]) -> None:
    state.open.clear()
    state.closing.clear()
    state.ended = True
    commands.append(ended)
