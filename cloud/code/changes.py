"""An analyst changes a code slot of their own, or asks how far a change got."""

from cloud.code.slot import CodeChange, Slot
from cloud.context import Context
from cloud.jobs import Jobs
from cloud.selection import check_known
from cloud.signatures import open_change
from user_lib.contract.code import check
from user_lib.contract.errors import Rejected
from user_lib.contract.ids import UserId
from user_lib.contract.messages import (
    CodeSlot,
    CodeSlots,
    PushCode,
    RollbackCode,
)

__all__ = ["change_code", "code_status"]


def change_code(context: Context, jobs: Jobs, user: UserId, ask: CodeChange) -> CodeSlot:
    """Make a change and send it to every vehicle at once; a token's second use changes nothing.

    Raises: CodeError, for a module that cannot work; Rejected, for unknown vehicles or an empty
    slot.
    """
    changed = _change(context, user, ask)
    if changed is not None:
        context.news.code.add(user)
        context.audit.note(
            f"code_{changed.content.action}",
            who=user,
            code=changed.content.version,
            bytes=len(ask.source.encode()) if isinstance(ask, PushCode) else 0,
            detail=f"{ask.side}, generation {changed.generation}",
        )
        if ask.side == "onboard":
            for order, vehicles in context.rollout.orders(changed):
                context.mail.to_vehicles(vehicles, order)
            jobs.code_changed(user)
    return context.rollout.describe(context.slots.get(user, ask.side))


def code_status(
    context: Context, user: UserId, *, final: bool, brief: bool = False
) -> CodeSlots | None:
    """Return both slots; None while vehicles that are online are pending, unless ``final``."""
    slots, rollout = context.slots, context.rollout
    onboard = slots.get(user, "onboard")
    if not final and rollout.pending(onboard):
        return None
    return CodeSlots(
        onboard=rollout.describe(onboard, brief=brief),
        offboard=rollout.describe(slots.get(user, "offboard"), brief=brief),
    )


def _change(context: Context, user: UserId, ask: CodeChange) -> Slot | None:
    order = open_change(context.auth, user, ask)
    if isinstance(ask, PushCode):
        _check_push(context, ask)
        return context.slots.push(user, ask, order)
    if isinstance(ask, RollbackCode):
        return context.slots.rollback(user, ask, order)
    return context.slots.remove(user, ask, order)


def _check_push(context: Context, ask: PushCode) -> None:
    check(ask.source)
    if ask.vehicles is None:
        return
    if ask.side == "offboard":
        raise Rejected("off-board code runs in the cloud; leave vehicles out", reason="invalid")
    if not ask.vehicles:
        raise Rejected("an empty list selects no vehicle", reason="invalid", path="vehicles")
    check_known(ask.vehicles, context.registry.vehicles, path="vehicles")
