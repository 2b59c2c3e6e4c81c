"""Whose orders this vehicle takes: those that an analyst signed whom its owner trusts.

The cloud in between is not trusted: it can hold an order back, but not change one, make one up, or
give an old one again. An assignment has one id, made of what was signed, and a vehicle begins it
once; a code generation counts only when it is higher than all before, and that is kept on disk.
"""

import logging

from agent.policy import Analyst
from user_lib.contract.assignment import Assignment
from user_lib.contract.card import Card
from user_lib.contract.errors import OodidaError, SignatureError
from user_lib.contract.ids import UserId, VehicleId
from user_lib.contract.messages import Assign, SetCode, Withdraw
from user_lib.contract.signed import AssignmentOrder, Signed, assignment_id_of
from user_lib.contract.signing import open_assignment, open_cancel, open_slot
from user_lib.wire.keyring import Keyring

__all__ = ["Trust", "Untrusted"]

log = logging.getLogger(__name__)


class Untrusted(OodidaError):
    """An order that may not be carried out; ``reason`` is a stable word."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


class Trust:
    """Judges orders by the owner's directory of trusted analysts; None is the insecure mode."""

    def __init__(self, vehicle_id: VehicleId, analysts: Keyring | None) -> None:
        self._vehicle_id, self._analysts = vehicle_id, analysts
        self._seen = 0 if analysts is None else analysts.version

    def refresh(self) -> bool:
        """Look whether the owner's list changed since the last look; cheap."""
        if self._analysts is None:
            return False
        self._analysts.refresh()
        seen, self._seen = self._seen, self._analysts.version
        return seen != self._seen

    def trusts(self, analyst: UserId) -> bool:
        """Whether an analyst's orders are taken as of now."""
        return self._analysts is None or bool(self._analysts.named(analyst))

    @property
    def keyed(self) -> bool:
        """Whether orders have to be signed."""
        return self._analysts is not None

    @property
    def cards(self) -> tuple[Card, ...]:
        """The cards of whom the owner trusts."""
        if self._analysts is None:
            return ()
        return tuple(sorted(self._analysts.cards, key=lambda c: (c.name, c.fingerprint)))

    def fingerprints(self, analyst: UserId) -> tuple[str, ...]:
        """Return the keys that are trusted under a name."""
        if self._analysts is None:
            return ()
        return tuple(card.fingerprint for card in self._analysts.named(analyst))

    def analyst(self, name: UserId) -> Analyst:
        """Return who an analyst is, for the owner's rules."""
        return Analyst(name, self.fingerprints(name))

    def spec_of(self, order: Assign) -> Assignment:
        """Return what an analyst signed for this vehicle and this id.

        Raises: Untrusted.
        """
        if self._analysts is None:
            if order.spec is None:
                raise Untrusted("unsigned", "the assignment has neither content nor signature")
            return order.spec
        signed = self._signed(order.analyst, order.signed)
        try:
            inner = open_assignment(signed, self._analysts.named(order.analyst))
        except SignatureError as error:
            raise Untrusted("bad_signature", str(error)) from None
        self._check_assignment(order, inner)
        return inner.spec

    def check_code(self, order: SetCode) -> None:
        """Refuse code that its analyst did not sign for this vehicle and generation.

        Raises: Untrusted.
        """
        if self._analysts is None:
            return
        signed = self._signed(order.analyst, order.signed)
        try:
            slot = open_slot(signed, self._analysts.named(order.analyst))
        except SignatureError as error:
            raise Untrusted("bad_signature", str(error)) from None
        if bool(order.version) != bool(order.source):
            raise Untrusted("bad_signature", "the code that was signed came without its source")
        given = (slot.analyst, slot.side, slot.generation, slot.version_for(self._vehicle_id))
        if given != (order.analyst, "onboard", order.generation, order.version):
            raise Untrusted(
                "bad_signature",
                f"signed was generation {slot.generation} of {slot.analyst}'s {slot.side} code, "
                f"version {given[3][:8] or 'none'}; given was generation {order.generation}, "
                f"version {order.version[:8] or 'none'}",
            )

    def check_cancel(self, order: Withdraw, analyst: UserId) -> None:
        """Refuse the end of a task of ``analyst``'s that only the cloud says was cancelled.

        Raises: Untrusted.
        """
        if self._analysts is None:
            return
        signed = self._signed(analyst, order.signed)
        try:
            inner = open_cancel(signed, self._analysts.named(analyst))
        except SignatureError as error:
            raise Untrusted("bad_signature", str(error)) from None
        if inner.assignment_id != order.assignment_id:
            raise Untrusted(
                "bad_signature",
                f"cancelled was {inner.assignment_id}; given was {order.assignment_id}",
            )

    def _signed(self, analyst: UserId, signed: Signed | None) -> Signed:
        if not self.trusts(analyst) and self._analysts is not None:
            self._analysts.refresh(within_ns=0)  # the owner may just have said yes
        if not self.trusts(analyst):
            raise Untrusted(
                "untrusted",
                f"the owner of vehicle {self._vehicle_id} does not trust {analyst}; "
                "`oodida keys enrol CARD --into` its directory of analysts changes that",
            )
        if signed is None:
            raise Untrusted("unsigned", f"vehicle {self._vehicle_id} takes signed orders only")
        return signed

    def _check_assignment(self, order: Assign, inner: AssignmentOrder) -> None:
        named = assignment_id_of(inner.analyst, inner.token)
        if (inner.analyst, named) != (order.analyst, order.assignment_id):
            raise Untrusted(
                "bad_signature",
                f"signed was {named} of {inner.analyst}; given was {order.assignment_id} of "
                f"{order.analyst}",
            )
        if not inner.includes(self._vehicle_id):
            raise Untrusted(
                "bad_signature", f"{inner.analyst} did not select vehicle {self._vehicle_id}"
            )
