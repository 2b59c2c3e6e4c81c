"""What analysts sign is checked here too: what no vehicle would take is refused at once.

This protects nobody from the cloud, which is the vehicles' own part (`agent.trust`).
"""

from cloud.auth import Auth
from cloud.code.slot import CodeChange
from user_lib.contract.errors import Rejected, SignatureError
from user_lib.contract.ids import UserId
from user_lib.contract.messages import Cancel, Submit
from user_lib.contract.signed import Signed, SlotOrder, order_of
from user_lib.contract.signing import open_assignment, open_cancel, open_slot

__all__ = ["check_assignment", "check_cancel", "open_change"]


def check_assignment(auth: Auth, user: UserId, ask: Submit) -> None:
    """Refuse an assignment whose signature is not its analyst's, or is for another.

    Raises: Rejected.
    """
    if auth.insecure:
        return
    signed = _needed(ask.signed)
    try:
        order = open_assignment(signed, auth.cards_of(user))
    except SignatureError as error:
        raise Rejected(str(error), reason="bad_signature") from None
    if order != order_of(user, ask.token, ask.spec, order.created_ns):
        raise Rejected("what was signed is another assignment", reason="bad_signature")


def check_cancel(auth: Auth, user: UserId, ask: Cancel) -> None:
    """Refuse to end an assignment by a signature that no vehicle would take.

    Raises: Rejected.
    """
    if auth.insecure:
        return
    try:
        order = open_cancel(_needed(ask.signed), auth.cards_of(user))
    except SignatureError as error:
        raise Rejected(str(error), reason="bad_signature") from None
    if order.assignment_id != ask.assignment_id:
        raise Rejected(
            f"what was signed ends {order.assignment_id}, not {ask.assignment_id}",
            reason="bad_signature",
        )


def open_change(auth: Auth, user: UserId, ask: CodeChange) -> SlotOrder | None:
    """Return what an analyst signed to be in a slot; None in insecure mode.

    Raises: Rejected.
    """
    if auth.insecure:
        return None
    try:
        order = open_slot(_needed(ask.signed), auth.cards_of(user))
    except SignatureError as error:
        raise Rejected(str(error), reason="bad_signature") from None
    if order.side != ask.side:
        raise Rejected("what was signed is for the other side", reason="bad_signature")
    return order


def _needed(signed: Signed | None) -> Signed:
    if signed is None:
        raise Rejected(
            "the vehicles take signed orders only, and this is not signed; is this user_lib of "
            "the cloud's version?",
            reason="unsigned",
        )
    return signed
