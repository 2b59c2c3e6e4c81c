"""The analyst's view of all vehicles: what they offer, what they are asked, the code they run."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from user_lib.bus_words import buses_in_words
from user_lib.code.changes import change_slot
from user_lib.code.slots import CodeOverview, CodeUpdate
from user_lib.code.source import Code, source_of
from user_lib.connection import Connection
from user_lib.contents import give, outsourced
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import SECOND, Clock, SystemClock
from user_lib.contract.errors import (
    ProtocolError,
    UnknownSignal,
    nearest,
)
from user_lib.contract.ids import new_id
from user_lib.contract.messages import (
    CodeSlots,
    CodeStatus,
    JobInfo,
    Jobs,
    ListJobs,
    ListSignals,
    ListVehicles,
    Ping,
    Pong,
    PushCode,
    RemoveCode,
    RollbackCode,
    SignalInfo,
    Signals,
    Submit,
    Submitted,
    VehicleInfo,
    Vehicles,
)
from user_lib.contract.signed import assignment_id_of
from user_lib.contract.states import JobState
from user_lib.job import Job, explanation_of
from user_lib.methods import MethodInfo, method_table
from user_lib.settings import Given, KeyPaths, load_settings
from user_lib.signed_orders import sign_submit
from user_lib.specs import Spec, read_spec
from user_lib.tables import Column, Table
from user_lib.vehicle_cards import VehicleCards
from user_lib.wire.config import convert_config

__all__ = ["Fleet", "Side", "connect"]

Side: TypeAlias = Literal["onboard", "offboard"]
_VEHICLES: Mapping[str, Column[VehicleInfo]] = {
    "vehicle": lambda v: v.vehicle_id,
    "link": lambda v: "online" if v.online else "offline",
    "model": lambda v: v.model,
    "profile": lambda v: v.profile,
    "agent": lambda v: v.agent_version,
    "buses": lambda v: buses_in_words(v.stats),
    "tasks": lambda v: len(v.tasks),
    "custom code": lambda v: v.sandbox or "yes" if v.accepts_custom else "no",
    "tags": lambda v: v.tags or None,
}
_SIGNALS: Mapping[str, Column[SignalInfo]] = {
    "signal": lambda s: s.name,
    "unit": lambda s: s.unit,
    "message": lambda s: s.message,
    "channel": lambda s: s.channel,
    "minimum": lambda s: s.minimum,
    "maximum": lambda s: s.maximum,
    "choices": lambda s: s.choices or None,
}


def connect(
    cloud: str | None = None,
    user: str | None = None,
    *,
    timeout_s: float | None = None,
    keys: Mapping[str, str | Path] | None = None,
    insecure: bool = False,
    clock: Clock | None = None,
) -> "Fleet":
    """Return the fleet of the cloud at ``cloud``, as ``user``.

    ``keys`` are the paths ``{"own": "ada.key", "cloud": "cloud.pub"}``; the user is the name on
    them. What is not given comes from the environment (``OODIDA_CLOUD``, ``OODIDA_KEY``,
    ``OODIDA_CLOUD_KEY`` …), then from ``~/.config/oodida/analyst.yaml``. ``insecure`` does without
    keys, with a cloud on this machine only.

    Raises: ConfigError, for a wrong or missing file; LinkError, when no cloud answers within
            ``timeout_s`` (5 s unless configured), or it does not know the keys.
    """
    plain = {name: str(path) for name, path in (keys or {}).items()}
    paths = convert_config(plain, KeyPaths, where="keys")
    given = Given(
        cloud=cloud,
        user=user,
        timeout_s=timeout_s,
        keys=paths,
        insecure=insecure,
    )
    connection = Connection(load_settings(given), clock)
    try:
        connection.ask(Ping(), Pong)
    except BaseException:
        connection.close()
        raise
    return Fleet(connection, clock)


class Fleet:
    """All vehicles of one cloud, for one analyst; close it, or use it in a ``with`` block.

    Thread-safe: questions from several threads take turns; what waits has a line of its own.
    """

    def __init__(self, connection: Connection, clock: Clock | None = None) -> None:
        self._connection = connection
        self._clock = clock or SystemClock()
        settings = connection.settings
        self._vehicles = VehicleCards(settings.vehicles, settings.known_vehicles)

    @property
    def cloud(self) -> str:
        """Where the cloud is."""
        return self._connection.settings.cloud

    @property
    def user(self) -> str:
        """Who asks."""
        return self._connection.settings.user

    def vehicles(self) -> Table[VehicleInfo]:
        """Return all vehicles that the cloud has seen."""
        found = self._connection.ask(ListVehicles(), Vehicles).vehicles
        return Table(found, _VEHICLES, "no vehicle has said hello to this cloud yet")

    def signals(self, vehicle: str) -> Table[SignalInfo]:
        """Return what ``vehicle`` can be asked for, by VSS path where its mapping has one.

        Raises: Rejected, when no such vehicle is known; ``near`` names those meant.
        """
        found = self._connection.ask(ListSignals(vehicle_id=vehicle), Signals).signals
        return Table(found, _SIGNALS, f"{vehicle} has not told its signals yet; ask again soon")

    def value_names(self, vehicle: str, signal: str) -> dict[int, str]:
        """Return what the values of a signal are called on ``vehicle``; results hold the numbers.

        Raises: UnknownSignal, with the nearest names; Rejected, as `signals`.
        """
        by_name = {info.name: info for info in self.signals(vehicle)}
        if signal not in by_name:
            raise UnknownSignal(signal, near=nearest(signal, by_name))
        return dict(by_name[signal].choices)

    def methods(self) -> Table[MethodInfo]:
        """Return the built-in methods, what they take and what they return."""
        return method_table()

    def assign(self, spec: Spec | None = None, **keys: Any) -> Job:  # noqa: ANN401 - the grammar's
        """Submit an assignment: a mapping, a YAML file, keys of the grammar, or a mix (keys win).

        Raises: AssignmentError, before anything is sent, for what can be seen here; Rejected, when
                the cloud says no.
        """
        assignment, bodies = outsourced(read_spec(spec, keys))
        for body in bodies:
            give(self._connection, body)
        token, link = new_id("token"), self._connection.settings.keys
        ask = Submit(spec=assignment, token=token)
        if link is not None:
            ask = sign_submit(assignment, token, link.own, self._clock.unix_ns())
        submitted = self._connection.ask(ask, Submitted)
        name = submitted.assignment_id
        if link is not None and name != assignment_id_of(self.user, token):
            raise ProtocolError(f"the cloud answered with another assignment: {name}")
        return self._job(_new(self.user, assignment, submitted, self._clock.unix_ns()))

    def jobs(self, limit: int = 100) -> list[Job]:
        """Return one's own jobs, newest first."""
        found = self._connection.ask(ListJobs(limit=limit), Jobs).jobs
        return [self._job(info) for info in found]

    def job(self, job_id: str) -> Job:
        """Return one's own job of that id.

        Raises: Rejected, when there is none.
        """
        return self._job(explanation_of(self._connection, job_id).job)

    def update_code(
        self,
        code: Code,
        *,
        side: Side = "onboard",
        vehicles: Sequence[str] | None = None,
        not_after: dt.datetime | None = None,
        wait: bool = True,
        timeout_s: float = 30.0,
    ) -> CodeUpdate:
        """Put a custom module in force: active-code replacement.

        Running assignments with ``custom`` take it at their next iteration. ``code`` is a file, a
        module's text or a function; ``vehicles`` gives it to those only (A/B), the others keep
        what they have. With ``wait`` the call returns once every vehicle that is online has
        answered, or after ``timeout_s`` with those still `CodeUpdate.pending`. A vehicle that gets
        it only after ``not_after`` (with a time zone) refuses it, if its clock can be trusted.

        Raises: CodeError, before anything is sent, when the module cannot work; Rejected.
        """
        chosen = None if vehicles is None else tuple(vehicles)
        ask = PushCode(
            side=side,
            source=source_of(code),
            token=new_id("token"),
            vehicles=chosen,
            not_after_ns=None if not_after is None else _unix_ns(not_after),
        )
        return change_slot(self._connection, ask, self._clock, wait_s=timeout_s if wait else 0.0)

    def rollback_code(
        self, *, side: Side = "onboard", wait: bool = True, timeout_s: float = 30.0
    ) -> CodeUpdate:
        """Put the slot's previous content back in force.

        On board it is the newest one that not every vehicle has rejected.

        Raises: Rejected, when there is none.
        """
        ask = RollbackCode(side=side, token=new_id("token"))
        return change_slot(self._connection, ask, self._clock, wait_s=timeout_s if wait else 0.0)

    def remove_code(
        self, *, side: Side = "onboard", wait: bool = True, timeout_s: float = 30.0
    ) -> CodeUpdate:
        """Empty the slot; running tasks that need its code end, saying so."""
        ask = RemoveCode(side=side, token=new_id("token"))
        return change_slot(self._connection, ask, self._clock, wait_s=timeout_s if wait else 0.0)

    def code_status(self) -> CodeOverview:
        """Return which version is in force where, on both sides."""
        return CodeOverview.of(self._connection.ask(CodeStatus(), CodeSlots))

    def close(self) -> None:
        """Close the connection; jobs go on without it."""
        self._connection.close()

    def _job(self, info: JobInfo) -> Job:
        return Job(self._connection, info, self._clock, self._vehicles)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Fleet at {self.cloud} as {self.user}>"


def _new(user: str, spec: Assignment, submitted: Submitted, now_ns: int) -> JobInfo:
    """Return what is known of a new assignment without asking again.

    An account of ten thousand vehicles would hold up the cloud just when they begin to answer.
    """
    return JobInfo(
        assignment_id=submitted.assignment_id,
        analyst=user,
        spec=spec,
        state=JobState.SCHEDULED,
        reason="",
        created_ns=now_ns,
        ended_ns=None,
        vehicles=submitted.vehicles,
        rounds_closed=0,
        results=0,
        last_seq=0,
    )


def _unix_ns(moment: dt.datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError(f"not_after: {moment} has no time zone; such as dt.UTC")
    return round(moment.timestamp()) * SECOND
