"""What a task's step asks of the signals and of the workers, carried out."""

from agent.tasks.live import Live, Surroundings, job_of
from agent.tasks.receipt import Run
from agent.tasks.roll import Roll
from agent.tasks.task import Close, Command, Compute, Now, Open, Request
from user_lib.contract.errors import AssignmentError
from user_lib.contract.states import TaskState

__all__ = ["carry_out", "subscribe_anew"]


def carry_out(
    command: Command, live: Live, around: Surroundings, roll: Roll, now: Now
) -> AssignmentError | None:
    """Do what a command asks for; return why the signals cannot be had."""
    match command:
        case Open():
            return _open(live, around)
        case Request() if live.subscription is not None:
            live.subscription.request()
        case Compute():
            _submit(live, around, roll, now)
        case Close() if live.subscription is not None:
            live.subscription.cancel()
        case _:
            pass
    return None


def subscribe_anew(live: Live, around: Surroundings, roll: Roll) -> AssignmentError | None:
    """Follow the signals by other databases; return why these cannot be had any more."""
    if live.subscription is None:
        return None
    live.subscription.cancel()
    roll.rename(live)
    failure = _open(live, around)
    if failure is not None:
        return failure
    if TaskState.GATHERING in (live.task.state, live.task.resume) and live.window is None:
        live.subscription.request()
    return None


def _open(live: Live, around: Surroundings) -> AssignmentError | None:
    try:
        live.subscription = around.signals.subscribe(live.task.spec, live.token, around.post)
    except AssignmentError as error:
        return error
    return None


def _submit(live: Live, around: Surroundings, roll: Roll, now: Now) -> None:
    if live.window is None:
        raise AssertionError(f"task {live.task.assignment_id} runs without a window")
    ticket = roll.ticket()
    run = Run(ticket, live.task, live.window, live.version, now.monotonic_ns, live.dbc_hash)
    roll.begin(live, run)
    around.slots.submit(ticket, job_of(run, around))
