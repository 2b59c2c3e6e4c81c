"""Why is there no data? The chain from the vehicle to the ledger, with the first link that is open.

Everything is taken from what the cloud knows: the explanation of a job, the last heartbeat of each
vehicle with its counters, and the signals that the vehicle has told.
"""

from collections.abc import Collection, Iterator, Mapping

from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import nearest
from user_lib.contract.messages import Explanation, JobInfo, MemberInfo, VehicleInfo
from user_lib.contract.states import JOB_ENDS, TASK_ENDS, JobState, TaskState
from user_lib.doctor import delivery
from user_lib.doctor.diagnosis import Diagnosis, Link
from user_lib.member_words import ended_by, kept_by_owner, lost_words, waits_for_budget

__all__ = ["diagnose", "vehicle_links"]

_SILENT = "no frame"
_TRIGGERS = "trigger"
_ENDED_BY_SIGNAL = ("unknown_signal", "unknown signal", "no signal")
_OF_NOW = frozenset(
    {"online", "assigned", "signal known", "frames seen", "decoded", "condition true"}
)
_HAS_WINDOW = frozenset({TaskState.READY, TaskState.RUNNING})
_SLOT = "worker slot"
_LATE_MS, _HANGS_MS = 1_000, 8_000
_START = (
    "start oodida-agent on it; there, oodida-agent check says whether network, keys and cloud are "
    "right"
)
_DATABASES = (
    "give its profile the databases of this car and channel; there, oodida-agent check says which "
    "identifiers nobody knows"
)
_HELD_UP = {
    TaskState.READY: "other tasks hold its worker slots: give this one a higher priority, or wait",
    TaskState.PAUSED: "make room on the vehicle's disk, or mount it for writing: it goes on then",
    TaskState.FAILED: "correct what it says and submit it again",
}
"""Why a task with a window does not compute, and what to do about it."""


def diagnose(
    explanation: Explanation,
    vehicles: Mapping[str, VehicleInfo],
    signals: Mapping[str, Collection[str]],
) -> tuple[Diagnosis, ...]:
    """Return the chain of each vehicle of a job.

    ``signals`` are the names that each vehicle has told, where they are known.
    """
    found = []
    for member in explanation.members:
        name, ended = member.vehicle_id, _ended(explanation.job, member)
        links = _chain(explanation, member, vehicles.get(name), signals.get(name))
        found.append(Diagnosis(name, tuple(_past(links) if ended else links), ended))
    return tuple(found)


def _ended(job: JobInfo, member: MemberInfo) -> str:
    """Say how a job ended on a vehicle without having failed there; empty when it did not."""
    if job.state is JobState.CANCELLED:
        words = "the job was cancelled"
    elif member.state not in (TaskState.FINISHED, TaskState.CANCELLED):
        return ""
    elif job.state is JobState.FAILED:
        words = f"its part is done; the job failed ({job.reason})"
    else:
        words = "the job is done" if job.state in JOB_ENDS else "its part is done"
    return "; ".join(part for part in (words, lost_words(member)) if part)


def _past(links: Iterator[Link]) -> Iterator[Link]:
    """Yield the chain of a task that is over: how the vehicle is by now broke nothing of it."""
    for link in links:
        matters = link.name not in _OF_NOW or link.holds != "no"
        yield link if matters else Link(link.name, "unknown", link.found)


def _chain(
    explanation: Explanation,
    member: MemberInfo,
    vehicle: VehicleInfo | None,
    signals: Collection[str] | None,
) -> Iterator[Link]:
    spec, some = explanation.job.spec, member.results > 0
    words = " ".join(member.detail.split())
    yield _online(words, holds=member.online)
    yield _assigned(member, some=some)
    yield _accepted(member, words)
    yield _signals_known(spec, signals, words)
    stats: Mapping[str, float] = vehicle.stats if vehicle else {}
    yield _frames(stats, words, some=some)
    yield _decoded(stats, words, some=some)
    if spec.trigger is not None:
        yield _condition(words, was=some or member.state in _HAS_WINDOW)
    yield _computed(member, over=explanation.job.state in JOB_ENDS or member.state in TASK_ENDS)
    lost, kept = lost_words(member), kept_by_owner(member)
    yield delivery.sent(vehicle, came=some, lost=lost, kept=kept)
    yield delivery.acknowledged(vehicle, explanation.unkept, member.results)


def _online(words: str, *, holds: bool) -> Link:
    return Link("online", "yes") if holds else Link("online", "no", words, _START)


def _assigned(member: MemberInfo, *, some: bool) -> Link:
    if member.state is not None or some:
        return Link("assigned", "yes")
    advice = "if it stays so: the journal of oodida-agent on it says whether it takes orders"
    return Link("assigned", "no", "it has not answered", advice)


def _accepted(member: MemberInfo, words: str) -> Link:
    if member.state is None:
        return Link("accepted", "unknown")
    if member.state is TaskState.REJECTED:
        advice = "change the assignment as it says, or ask the owner of the vehicle"
        return Link("accepted", "no", words, advice)
    keeper = ended_by(member)
    if keeper:
        advice = "ask the owner of the vehicle, or ask for what its rules allow"
        return Link("accepted", "no", f"ended by {keeper}; {words}", advice)
    if member.state is TaskState.PENDING and not member.results:
        return Link("accepted", "yes", words or "waits for its start")
    return Link("accepted", "yes", str(member.state))


def _signals_known(spec: Assignment, signals: Collection[str] | None, words: str) -> Link:
    trigger = spec.trigger
    wanted = dict.fromkeys((*spec.signals, *(trigger.names if trigger else ())))
    advice = "oodida signals VEHICLE lists what it knows; a reload gives it other databases"
    if any(reason in words for reason in _ENDED_BY_SIGNAL):
        return Link("signal known", "no", words, advice)
    if signals is None:
        return Link("signal known", "unknown", "the vehicle has not told its signals")
    # Message.Signal and measures of quality are known by more names than a vehicle lists.
    missing = [n for n in wanted if n.startswith("Vehicle.") and n not in signals]
    if not missing:
        return Link("signal known", "yes", ", ".join(wanted))
    near = nearest(missing[0], signals)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return Link("signal known", "no", f"{', '.join(missing)}{hint}", advice)


def _frames(stats: Mapping[str, float], words: str, *, some: bool) -> Link:
    total, away = stats.get("frames.total"), stats.get("source.disconnected", 0)
    if total is None:
        return Link("frames seen", "yes" if some else "unknown")
    lost = stats.get("frames.dropped", 0)
    found = f"{total:.0f} frames" + (f", {lost:.0f} lost" if lost else "")
    lag_ms = stats.get("pump.lag_ms", 0.0)
    if lag_ms > _HANGS_MS:
        words = f"{found}; for {lag_ms / 1000:.0f} s its agent has taken none in"
        advice = "it hangs: as a service it is restarted by itself, else restart oodida-agent"
        return Link("frames seen", "no", words, advice)
    if away:
        return Link(
            "frames seen", "no", f"{found}; {away:.0f} interfaces are away",
            "bring them up: systemctl start oodida-can@NAME, or plug them in; it goes on by itself",
        )  # fmt: skip
    foreign = total == stats.get("frames.unmatched")  # then the next link tells what is wrong
    silent = _SILENT in words and not (total and foreign)
    if total and not silent:
        return Link("frames seen", "yes", found)
    return Link(
        "frames seen", "no", f"{found}; {words}" if silent else found,
        "is the car awake? else wiring, bit rate and channel: candump on the vehicle shows them",
    )  # fmt: skip


def _decoded(stats: Mapping[str, float], words: str, *, some: bool) -> Link:
    total, unmatched = stats.get("frames.total"), stats.get("frames.unmatched")
    if not total or unmatched is None:
        return Link("decoded", "yes" if some else "unknown")
    share = 1 - unmatched / total
    found = f"{share:.0%} of the frames are in its databases"
    if not share:
        words = f"{found}: databases of another car or channel?"
        return Link("decoded", "no", words, _DATABASES)
    return Link("decoded", "yes", f"{found}; {words}" if words else found)


def _condition(words: str, *, was: bool) -> Link:
    if was:
        return Link("condition true", "yes")
    if _TRIGGERS not in words:
        return Link("condition true", "unknown", words)
    advice = (
        "wait; whether it can come true tells the same job without `when`, with onboard: min or max"
    )
    return Link("condition true", "unknown", words, advice)


def _computed(member: MemberInfo, *, over: bool) -> Link:
    """Say whether results come about; ``over``: nothing more is to come."""
    some, words = member.results > 0, " ".join(member.detail.split())
    if member.last_failure:
        failure = " ".join(member.last_failure.split())
        then = "submit it again: this one has ended" if over else "the job goes on with it"
        advice = f"correct the code (oodida code try FILE) or its limits; {then}"
        return Link("computed", "no", f"last failure: {failure}", advice)
    if member.state is TaskState.FAILED and not ended_by(member):
        return Link("computed", "no", words, _HELD_UP[TaskState.FAILED])
    if member.state is not None and not over:
        waits = _waits(member, words, some=some)
        if waits is not None:
            return waits
    if some or member.state is TaskState.FINISHED:
        return Link("computed", "yes", f"iteration {member.iteration}")
    return Link("computed", "unknown", "" if over else "its first window is not complete")


def _waits(member: MemberInfo, words: str, *, some: bool) -> Link | None:
    """Return what holds up a task that could compute, None when nothing does."""
    if waits_for_budget(member):
        advice = "nothing, it goes on by itself; more than that is for the vehicle's owner to allow"
        return Link("computed", "unknown", f"for the owner's budget it {words}", advice)
    if member.state is TaskState.PAUSED or (
        member.state is TaskState.READY and _SLOT in words and not some
    ):
        return Link("computed", "no", words, _HELD_UP[member.state])
    if member.state is TaskState.READY and words and not some:
        return Link("computed", "unknown", words)
    return None


def vehicle_links(vehicle: VehicleInfo) -> Diagnosis:
    """Return what is known of a vehicle by itself, without any job."""
    stats = vehicle.stats
    slots = f"{stats.get('slots.busy', 0):.0f} of {stats.get('slots.total', 0):.0f} slots busy"
    return Diagnosis(
        vehicle.vehicle_id,
        (
            _online("", holds=vehicle.online),
            _frames(stats, "", some=False),
            _decoded(stats, "", some=False),
            _pace(stats.get("pump.lag_ms", 0.0)),
            _custom_code(vehicle),
            _disk(paused=bool(stats.get("tasks.paused"))),
            Link("tasks", "yes" if vehicle.tasks else "unknown", f"{len(vehicle.tasks)}, {slots}"),
            delivery.sent(vehicle, came=True),
            delivery.acknowledged(vehicle, "", None),
        ),
    )


def _pace(lag_ms: float) -> Link:
    found = f"at most {lag_ms:.0f} ms late"
    if lag_ms < _LATE_MS:
        return Link("keeps pace", "yes", found)
    advice = "give the agent more of the processor, or exclude_ids that nobody needs"
    return Link("keeps pace", "no", found, advice)


def _custom_code(vehicle: VehicleInfo) -> Link:
    found = f"sandbox {vehicle.sandbox or '?'}"
    if vehicle.sandbox not in ("", "unconfined"):
        return Link("custom code", "yes", found)
    advice = "there, oodida-agent check says which layer is missing and how to get it"
    return Link("custom code", "no", found, advice)


def _disk(*, paused: bool) -> Link:
    if not paused:
        return Link("disk", "yes")
    return Link("disk", "no", "tasks are paused", _HELD_UP[TaskState.PAUSED])
