"""Why is there no data? The chain from the vehicle to the ledger, with the first link that is open.

Everything is taken from what the cloud knows: the explanation of a job, the last heartbeat of each
vehicle with its counters, and the signals that the vehicle has told.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import msgspec

from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import nearest
from user_lib.contract.escaping import LINES, escaped
from user_lib.contract.messages import Explanation, MemberInfo, VehicleInfo
from user_lib.contract.states import TaskState

__all__ = ["Diagnosis", "Link", "diagnose", "diagnosis_text", "vehicle_links"]

Verdict = Literal["yes", "no", "unknown"]
_MARKS: Mapping[Verdict, str] = {"yes": " ok ", "no": " NO ", "unknown": "  ? "}
_SILENT = "no frame"
_TRIGGERS = "trigger"
_ENDED_BY_SIGNAL = ("unknown_signal", "unknown signal", "no signal")


class Link(msgspec.Struct, frozen=True):
    """One link of the chain; ``found`` says in words what there is."""

    name: str
    holds: Verdict
    found: str = ""


class Diagnosis(msgspec.Struct, frozen=True):
    """The chain of one vehicle."""

    vehicle_id: str
    links: tuple[Link, ...]

    @property
    def broken(self) -> Link | None:
        """The first link that does not hold."""
        return next((link for link in self.links if link.holds == "no"), None)


def diagnose(
    explanation: Explanation,
    vehicles: Mapping[str, VehicleInfo],
    signals: Mapping[str, Collection[str]],
) -> tuple[Diagnosis, ...]:
    """Return the chain of each vehicle of a job.

    ``signals`` are the names that each vehicle has told, where they are known.
    """
    spec = explanation.job.spec
    return tuple(
        Diagnosis(
            member.vehicle_id,
            tuple(
                _chain(
                    spec, member, vehicles.get(member.vehicle_id), signals.get(member.vehicle_id)
                )
            ),
        )
        for member in explanation.members
    )


def _chain(
    spec: Assignment,
    member: MemberInfo,
    vehicle: VehicleInfo | None,
    signals: Collection[str] | None,
) -> Iterator[Link]:
    some = member.results > 0
    words = " ".join(member.detail.split())
    yield Link("online", "yes" if member.online else "no", "" if member.online else words)
    told = member.state is not None
    yield Link("assigned", "yes" if told or some else "no", "" if told else "it has not answered")
    yield _accepted(member, words)
    yield _signals_known(spec, signals, words)
    stats: Mapping[str, float] = vehicle.stats if vehicle else {}
    yield _frames(stats, words, some=some)
    yield _decoded(stats, words, some=some)
    if spec.trigger is not None:
        yield _condition(words, some=some)
    yield _computed(member, some=some)
    yield _sent(member, vehicle)
    shown = f"{member.results} results in the ledger" if some else "no result in the ledger"
    yield Link("acknowledged", "yes" if some else "no", shown)


def _accepted(member: MemberInfo, words: str) -> Link:
    if member.state is None:
        return Link("accepted", "unknown")
    if member.state is TaskState.REJECTED:
        return Link("accepted", "no", words)
    if member.state is TaskState.PENDING and not member.results:
        return Link("accepted", "yes", words or "waits for its start")
    return Link("accepted", "yes", str(member.state))


def _signals_known(spec: Assignment, signals: Collection[str] | None, words: str) -> Link:
    trigger = spec.trigger
    wanted = dict.fromkeys((*spec.signals, *(trigger.names if trigger else ())))
    if any(reason in words for reason in _ENDED_BY_SIGNAL):
        return Link("signal known", "no", words)
    if signals is None:
        return Link("signal known", "unknown", "the vehicle has not told its signals")
    # Message.Signal and measures of quality are known by more names than a vehicle lists.
    missing = [n for n in wanted if n.startswith("Vehicle.") and n not in signals]
    if not missing:
        return Link("signal known", "yes", ", ".join(wanted))
    near = nearest(missing[0], signals)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return Link("signal known", "no", f"{', '.join(missing)}{hint}")


def _frames(stats: Mapping[str, float], words: str, *, some: bool) -> Link:
    total, away = stats.get("frames.total"), stats.get("source.disconnected", 0)
    if total is None:
        return Link("frames seen", "yes" if some else "unknown")
    lost = stats.get("frames.dropped", 0)
    found = f"{total:.0f} frames" + (f", {lost:.0f} lost" if lost else "")
    if away:
        return Link("frames seen", "no", f"{found}; {away:.0f} interfaces are away")
    foreign = total == stats.get("frames.unmatched")  # then the next link tells what is wrong
    if _SILENT in words and not (total and foreign):
        return Link("frames seen", "no", f"{found}; {words}")
    return Link("frames seen", "yes" if total else "no", found)


def _decoded(stats: Mapping[str, float], words: str, *, some: bool) -> Link:
    total, unmatched = stats.get("frames.total"), stats.get("frames.unmatched")
    if not total or unmatched is None:
        return Link("decoded", "yes" if some else "unknown")
    share = 1 - unmatched / total
    found = f"{share:.0%} of the frames are in its databases"
    if not share:
        return Link("decoded", "no", f"{found}: databases of another car or channel?")
    return Link("decoded", "yes", f"{found}; {words}" if words else found)


def _condition(words: str, *, some: bool) -> Link:
    if some:
        return Link("condition true", "yes")
    return Link("condition true", "no" if _TRIGGERS in words else "unknown", words)


def _computed(member: MemberInfo, *, some: bool) -> Link:
    if member.last_failure:
        return Link("computed", "no", f"last failure: {' '.join(member.last_failure.split())}")
    if some or member.state is TaskState.FINISHED:
        return Link("computed", "yes", f"iteration {member.iteration}")
    if member.state in (TaskState.READY, TaskState.PAUSED, TaskState.FAILED):
        return Link("computed", "no", " ".join(member.detail.split()))
    return Link("computed", "unknown", "its first window is not complete")


def _sent(member: MemberInfo, vehicle: VehicleInfo | None) -> Link:
    waiting = vehicle.outbox if vehicle else 0
    lost = f"; {member.lost_results} lost by a full outbox" if member.lost_results else ""
    if waiting:
        holds: Verdict = "yes" if member.online else "no"
        return Link("sent", holds, f"{waiting} results of all jobs wait in its outbox{lost}")
    return Link("sent", "yes" if member.results else "unknown", f"its outbox is empty{lost}")


def vehicle_links(vehicle: VehicleInfo) -> Diagnosis:
    """Return what is known of a vehicle by itself, without any job."""
    stats = vehicle.stats
    lag_ms = stats.get("pump.lag_ms", 0.0)
    slots = f"{stats.get('slots.busy', 0):.0f} of {stats.get('slots.total', 0):.0f} slots busy"
    confined = vehicle.sandbox not in ("", "unconfined")
    paused = bool(stats.get("tasks.paused"))
    return Diagnosis(
        vehicle.vehicle_id,
        (
            Link("online", "yes" if vehicle.online else "no"),
            _frames(stats, "", some=False),
            _decoded(stats, "", some=False),
            Link("keeps pace", "yes" if lag_ms < 1000 else "no", f"at most {lag_ms:.0f} ms late"),
            Link("custom code", "yes" if confined else "no", f"sandbox {vehicle.sandbox or '?'}"),
            Link("disk", "no" if paused else "yes", "tasks are paused" if paused else ""),
            Link("tasks", "yes" if vehicle.tasks else "unknown", f"{len(vehicle.tasks)}, {slots}"),
            Link("sent", "yes" if not vehicle.outbox else "unknown", f"{vehicle.outbox} wait"),
        ),
    )


def diagnosis_text(diagnoses: Collection[Diagnosis]) -> str:
    """Return a line a link, and below each chain its first open link in words."""
    lines: list[str] = []
    for diagnosis in diagnoses:
        lines.append(diagnosis.vehicle_id)
        for link in diagnosis.links:
            lines.append(f"  {_MARKS[link.holds]} {link.name:<15} {link.found}".rstrip())
        broken = diagnosis.broken
        if broken is not None:
            lines.append(
                f"  => it ends at: {broken.name}" + (f" ({broken.found})" * bool(broken.found))
            )
        lines.append("")
    return escaped("\n".join(lines).rstrip(), keep=LINES) or "no vehicle takes part"
