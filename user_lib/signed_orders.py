"""How an analyst signs: assignments, and what a code slot is to hold.

Nothing that the cloud says of a slot is taken over into what is signed, unless it is signed by the
same analyst: else a dishonest cloud could have its own code signed as "what was there before".
"""

import msgspec

from user_lib.contract.assignment import Assignment
from user_lib.contract.code import version_of
from user_lib.contract.errors import SignatureError
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import (
    Cancel,
    CodeSlot,
    PushCode,
    RemoveCode,
    RollbackCode,
    Submit,
)
from user_lib.contract.signed import CancelOrder, Signed, SlotOrder, order_of
from user_lib.contract.signing import open_slot, seal
from user_lib.wire.keys import Keys

__all__ = ["SlotChange", "sign_cancel", "sign_change", "sign_submit"]

SlotChange = PushCode | RollbackCode | RemoveCode
_FURTHEST = 10_000_000
"""How far a generation may lie above the last one signed: more is no number but a trick."""


def sign_submit(spec: Assignment, token: str, keys: Keys, now_ns: int) -> Submit:
    """Return the request for an assignment, signed."""
    order = order_of(keys.card.name, token, spec, now_ns)
    return Submit(spec=spec, token=token, signed=seal(order, keys.sign))


def sign_cancel(assignment_id: AssignmentId, keys: Keys, now_ns: int) -> Cancel:
    """Return the request that ends an assignment, signed."""
    order = CancelOrder(analyst=keys.card.name, assignment_id=assignment_id, created_ns=now_ns)
    return Cancel(assignment_id=assignment_id, signed=seal(order, keys.sign))


def sign_change(ask: SlotChange, slot: CodeSlot, keys: Keys, now_ns: int) -> SlotChange:
    """Return a change of ``slot``, as the cloud tells of it, with the new content signed.

    Raises: SignatureError, when the change builds on a content that is not one's own.
    """
    before = None if slot.signed is None else _own(slot.signed, slot.side, keys)
    version, overrides = _content(ask, slot, keys, before)
    if before is not None and not 0 < slot.next_generation - before.generation < _FURTHEST:
        raise SignatureError(
            f"the cloud wants generation {slot.next_generation} after {before.generation}, which "
            "cannot be; nothing was signed"
        )
    order = SlotOrder(
        analyst=keys.card.name,
        side=ask.side,
        generation=slot.next_generation,
        version=version,
        overrides=overrides,
        created_ns=now_ns,
        not_after_ns=ask.not_after_ns if isinstance(ask, PushCode) else None,
        previous="" if slot.signed is None else slot.signed.digest,
    )
    return msgspec.structs.replace(ask, signed=seal(order, keys.sign))


def _content(
    ask: SlotChange, slot: CodeSlot, keys: Keys, before: SlotOrder | None
) -> tuple[str, dict[str, str]]:
    """Return the default version and the overrides that the change makes."""
    match ask:
        case PushCode(source=source, vehicles=vehicles):
            version = version_of(source)
            if vehicles is None:
                return version, {}
            kept = _needed(before, slot)
            return kept.version, {**kept.overrides, **dict.fromkeys(vehicles, version)}
        case RollbackCode():
            if slot.previous_signed is None:
                return "", {}  # the cloud says that there is nothing to go back to
            old = _needed(_own(slot.previous_signed, slot.side, keys), slot)
            return old.version, old.overrides
        case RemoveCode():
            return "", {}


def _own(signed: Signed, side: str, keys: Keys) -> SlotOrder | None:
    """Return a content that these very keys signed; None for another's, or older keys'."""
    try:
        order = open_slot(signed, [keys.card])
    except SignatureError:
        return None
    return order if order.side == side else None


def _needed(order: SlotOrder | None, slot: CodeSlot) -> SlotOrder:
    if order is not None:
        return order
    if slot.generation == 0 and slot.signed is None:
        return SlotOrder(analyst="nobody", side=slot.side, generation=1, version="", created_ns=0)
    raise SignatureError(
        f"what the {slot.side} slot holds was not signed with your present keys, so nothing can "
        "build on it; push code for all vehicles first"
    )
