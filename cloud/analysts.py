"""What analysts ask, and what they are answered; each sees and ends only own assignments."""

from cloud.auth import Peer
from cloud.code.changes import change_code, code_status
from cloud.context import Context
from cloud.explain import explanation, job_infos
from cloud.jobs import Jobs
from cloud.ledger import AssignmentRow
from cloud.proof import proof
from cloud.roles import check_role
from cloud.selection import check_known
from cloud.signatures import check_cancel
from cloud.submission import submit
from cloud.waiting import Waiting, WaitingRequest
from user_lib.contract.clock import SECOND
from user_lib.contract.errors import AssignmentError, CodeError, Rejected
from user_lib.contract.ids import AssignmentId, UserId, VehicleId
from user_lib.contract.messages import (
    Answer,
    Ask,
    Cancel,
    Cancelled,
    CodeStatus,
    Events,
    Explain,
    ListJobs,
    ListSignals,
    ListVehicles,
    Ping,
    Pong,
    Prove,
    PushCode,
    PutChunk,
    ReadChunk,
    ReadEvents,
    Rejection,
    RemoveCode,
    Request,
    RollbackCode,
    Signals,
    Submit,
)
from user_lib.contract.messages import Vehicles as VehicleList
from user_lib.contract.states import JOB_ENDS

__all__ = ["Analysts"]


class Analysts:
    """Answers requests, each of which may come twice; some wait here until there is news."""

    def __init__(self, context: Context, jobs: Jobs, waiting: Waiting, version: str) -> None:
        self._context, self._jobs, self._waiting = context, jobs, waiting
        self._version = version

    def receive(self, peer: Peer, request: Request) -> None:
        """Answer a request, or let it wait."""
        identity = self._context.auth.identify(peer, request.user, "analyst")
        if identity is None:
            self._refuse_stranger(peer, request)
            return
        try:
            check_role(identity.role, request.ask)
            answer = self._answer(request.user, request.ask)
            if answer is None:
                self._park(peer, request)
                return
        except (Rejected, AssignmentError, CodeError) as error:
            reason = _rejection(error).reason
            self._context.audit.refused(request.user, reason, _what(request.ask, error))
            self._refuse(peer, request.number, error)
            return
        self._context.mail.reply(peer, request.number, answer)

    def wake(self) -> None:
        """Ask the waiting requests again that this tick had news for."""
        news = self._context.news
        for assignment_id in news.assignments:
            for request in self._waiting.for_assignment(assignment_id):
                self._again(request, final=False)
        for analyst in news.code:
            for request in self._waiting.for_code(analyst):
                self._again(request, final=False)
        news.assignments.clear()
        news.code.clear()

    def expire(self) -> None:
        """Answer the waiting requests whose time is up with what there is."""
        for request in self._waiting.due(self._context.clock.monotonic_ns()):
            self._again(request, final=True)

    # --- waiting ---------------------------------------------------------------------------------

    def _park(self, peer: Peer, request: Request) -> None:
        ask = request.ask
        if not isinstance(ask, ReadEvents | CodeStatus):
            raise TypeError(f"{type(ask).__name__} has no answer and cannot wait")
        until_ns = self._context.clock.monotonic_ns() + int(ask.wait_s * SECOND)
        self._waiting.park(WaitingRequest(peer, request.number, request.user, ask, until_ns))

    def _again(self, request: WaitingRequest, *, final: bool) -> None:
        try:
            answer = self._waited(request.user, request.ask, final=final)
            if answer is None:
                self._waiting.park(request)
                return
        except Rejected as error:
            self._refuse(request.peer, request.number, error)
            return
        self._context.mail.reply(request.peer, request.number, answer)

    def _waited(self, user: UserId, ask: ReadEvents | CodeStatus, *, final: bool) -> Answer | None:
        if isinstance(ask, ReadEvents):
            return self._events(user, ask, final=final)
        return code_status(self._context, user, final=final, brief=ask.brief)

    # --- answers ---------------------------------------------------------------------------------

    def _answer(self, user: UserId, ask: Ask) -> Answer | None:
        match ask:
            case Submit():
                return submit(self._context, self._jobs, user, ask)
            case Cancel():
                return self._cancel(user, ask)
            case ReadEvents(wait_s=wait_s) | CodeStatus(wait_s=wait_s):
                return self._waited(user, ask, final=wait_s == 0)
            case PutChunk():
                return self._context.contents.put(user, ask)
            case ReadChunk(assignment_id=assignment_id):
                return self._context.contents.read(self._own(user, assignment_id), ask)
            case PushCode() | RollbackCode() | RemoveCode():
                return change_code(self._context, self._jobs, user, ask)
            case _:
                return self._list(user, ask)

    def _list(self, user: UserId, ask: Ask) -> Answer | None:
        context = self._context
        match ask:
            case Ping():
                return Pong(cloud_version=self._version, vehicles_online=context.registry.online)
            case ListVehicles():
                return VehicleList(vehicles=tuple(context.registry.infos()))
            case ListSignals(vehicle_id=vehicle_id):
                return self._signals(vehicle_id)
            case ListJobs(limit=limit):
                return job_infos(context.ledger, user, limit)
            case Prove(assignment_id=assignment_id, after=after):
                return proof(context, self._own(user, assignment_id), after)
            case Explain(assignment_id=assignment_id):
                row = self._own(user, assignment_id)
                return explanation(context, row, self._jobs.get(assignment_id))
            case _:
                return None

    def _signals(self, vehicle_id: VehicleId) -> Signals:
        fleet = self._context.registry.vehicles
        check_known((vehicle_id,), fleet, path="")
        signals = self._context.ledger.fleet.catalog(fleet[vehicle_id].hello.dbc_hash)
        if signals is None:
            raise Rejected(
                f"vehicle {vehicle_id} has not told its signals yet; ask again when it is online",
                reason="no_catalog",
            )
        return Signals(vehicle_id=vehicle_id, signals=signals)

    def _events(self, user: UserId, ask: ReadEvents, *, final: bool) -> Events | None:
        row = self._own(user, ask.assignment_id)
        page = self._context.ledger.events.page(row, ask.after_seq, ask.limit, ask.kinds)
        over = row.state in JOB_ENDS and page.next_seq >= row.last_seq
        if not page.events and not over and not final:
            return None
        return Events(events=page.events, next_seq=page.next_seq, state=row.state, ended=over)

    def _own(self, user: UserId, assignment_id: AssignmentId) -> AssignmentRow:
        """Return an assignment of this analyst. Raises: Rejected."""
        job = self._jobs.get(assignment_id)
        row = self._context.ledger.find(assignment_id) if job is None else job.row
        if row is None:
            raise Rejected(
                f"no assignment {assignment_id!r}; `oodida jobs` or fleet.jobs() lists yours",
                reason="unknown_assignment",
            )
        if row.analyst != user:
            raise Rejected(f"assignment {assignment_id!r} is another analyst's", reason="not_yours")
        return row

    def _refuse_stranger(self, peer: Peer, request: Request) -> None:
        """Answer somebody who is not who they say they are."""
        card = self._context.auth.card(peer)
        known = "" if card is None else f"; it is that of the {card.role} {card.name}"
        self._context.complaints.add(
            "refused user", "connection %s may not ask as %s%s", peer, request.user, known
        )
        who = "" if card is None else card.name
        self._context.audit.refused(who, "unknown_user", f"{peer} asked as {request.user}")
        role = card is not None and card.role == "vehicle"
        words = f"the key of this connection is not that of {request.user}{known}"
        error = Rejected(words, reason="forbidden_role" if role else "unknown_user")
        self._refuse(peer, request.number, error)

    def _refuse(self, peer: Peer, number: int, error: Exception) -> None:
        self._context.mail.reply(peer, number, _rejection(error))

    def _cancel(self, user: UserId, ask: Cancel) -> Cancelled:
        row = self._own(user, ask.assignment_id)
        check_cancel(self._context.auth, user, ask)
        job = self._jobs.get(ask.assignment_id)
        if job is not None:
            self._jobs.cancel(job, ask.signed)
            self._context.audit.note("cancelled", who=user, job=ask.assignment_id)
        return Cancelled(assignment_id=ask.assignment_id, state=row.state)


def _what(ask: Ask, error: Exception) -> str:
    """Say what was asked and why it was refused."""
    return f"{ask.__struct_config__.tag}: {error}"


def _rejection(error: Exception) -> Rejection:
    match error:
        case Rejected():
            return Rejection(
                reason=error.reason, message=str(error), path=error.path, near=error.near
            )
        case AssignmentError():
            return Rejection(reason="invalid", message=str(error), path=error.path, near=error.near)
        case _:
            return Rejection(reason="bad_code", message=str(error))
