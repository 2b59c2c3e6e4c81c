"""Why is there no data? The chain from the vehicle to the ledger, with the first link that is open.

Everything is taken from what the cloud knows: the explanation of a job, the last heartbeat of each
vehicle with its counters, and the signals that the vehicle has told.
"""

from collections.abc import Collection, Iterator, Mapping

from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import nearest
from user_lib.contract.messages import Explanation, MemberInfo, VehicleInfo
from user_lib.contract.states import TaskState
from user_lib.doctor import delivery
from user_lib.doctor.diagnosis import Diagnosis, Link
from user_lib.member_words import lost_words

__all__ = ["diagnose", "vehicle_links"]

_SILENT = "no frame"
_TRIGGERS = "trigger"
_ENDED_BY_SIGNAL = ("unknown_signal", "unknown signal", "no signal")
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
    return tuple(
        Diagnosis(
            member.vehicle_id,
            tuple(
                _chain(
                    explanation,
                    member,
                    vehicles.get(member.vehicle_id),
                    signals.get(member.vehicle_id),
                )
            ),
        )
        for member in explanation.members
    )


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
        yield _condition(words, some=some)
    yield _computed(member, some=some)
    yield delivery.sent(vehicle, came=some, lost=lost_words(member))
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


def _condition(words: str, *, some: bool) -> Link:
    if some:
        return Link("condition true", "yes")
    if _TRIGGERS not in words:
        return Link("condition true", "unknown", words)
    advice = "nothing, unless it should have been true: then compare it with oodida signals"
    return Link("condition true", "no", words, advice)


def _computed(member: MemberInfo, *, some: bool) -> Link:
    if member.last_failure:
        failure = " ".join(member.last_failure.split())
        advice = "correct the code (oodida code try FILE) or its limits; the job goes on with it"
        return Link("computed", "no", f"last failure: {failure}", advice)
    if some or member.state is TaskState.FINISHED:
        return Link("computed", "yes", f"iteration {member.iteration}")
    if member.state in _HELD_UP:
        return Link("computed", "no", " ".join(member.detail.split()), _HELD_UP[member.state])
    return Link("computed", "unknown", "its first window is not complete")


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
