"""A change of a code slot: signed where there are keys, and followed to the vehicles."""

from user_lib.code.slots import CodeUpdate
from user_lib.connection import Connection
from user_lib.contract.clock import SECOND, Clock
from user_lib.contract.errors import Rejected
from user_lib.contract.messages import CodeSlot, CodeSlots, CodeStatus
from user_lib.signed_orders import SlotChange, sign_change
from user_lib.wire.keys import Keys

__all__ = ["change_slot"]

CHANGE_TRIES = 5
HOLD_S = 1.0
"""How long one question for the state of the slots waits at the cloud."""


def change_slot(
    connection: Connection, ask: SlotChange, clock: Clock, *, wait_s: float
) -> CodeUpdate:
    """Make a change, and wait up to ``wait_s`` until every vehicle that is online has answered.

    Raises: Rejected; SignatureError, when the change builds on a content that is not one's own.
    """
    called_ns = clock.monotonic_ns()
    slot = _made(connection, ask, clock)
    call_ms = (clock.monotonic_ns() - called_ns) / 1e6
    update = CodeUpdate(slot, call_ms)
    deadline_ns = called_ns + int(wait_s * SECOND)
    if wait_s <= 0:
        return update
    with connection.sibling() as line:
        while update.pending and clock.monotonic_ns() < deadline_ns:
            found = line.ask(CodeStatus(wait_s=HOLD_S), CodeSlots, wait_s=HOLD_S)
            latest = found.onboard if ask.side == "onboard" else found.offboard
            if latest.generation != slot.generation:
                break  # a later change took over; this one's last known state stands
            update = CodeUpdate(latest, call_ms)
    return update


def _made(connection: Connection, ask: SlotChange, clock: Clock) -> CodeSlot:
    """Make a change; who else changes the same slot at the same time makes this one repeat."""
    keys = connection.settings.keys
    if keys is None:
        return connection.ask(ask, CodeSlot)
    for _ in range(CHANGE_TRIES - 1):
        try:
            return connection.ask(_signed(connection, ask, keys.own, clock), CodeSlot)
        except Rejected as error:
            if error.reason != "stale_generation":
                raise
    return connection.ask(_signed(connection, ask, keys.own, clock), CodeSlot)


def _signed(connection: Connection, ask: SlotChange, keys: Keys, clock: Clock) -> SlotChange:
    slots = connection.ask(CodeStatus(brief=True), CodeSlots)
    slot = slots.onboard if ask.side == "onboard" else slots.offboard
    return sign_change(ask, slot, keys, clock.unix_ns())
