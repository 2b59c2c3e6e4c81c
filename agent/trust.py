"""Whose orders this vehicle takes: those that an analyst signed whom its owner trusts.

The cloud in between is not trusted: it can hold an order back, but not change one, make one up, or
give an old one again. An assignment has one id, made of what was signed, and a vehicle begins it
once; a code generation counts only when it is higher than all before, and that is kept on disk.
"""

import logging
from collections.abc import Callable

from agent.policy import Analyst
from user_lib.contract.assignment import Assignment
from user_lib.contract.card import Card
from user_lib.contract.errors import OodidaError, SignatureError
from user_lib.contract.ids import UserId, VehicleId
from user_lib.contract.messages import Assign, SetCode, Withdraw
from user_lib.contract.signed import AssignmentOrder, Signed, assignment_id_of
from user_lib.contract.signing import open_assignment, open_cancel, open_slot
from user_lib.wire.audit_entry import stamp
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

    def __init__(
        self,
        vehicle_id: VehicleId,
        analysts: Keyring | None,
        wall_ns: Callable[[], int | None] = lambda: None,
    ) -> None:
        """``wall_ns``: the time, ns since 1970, or None while the clock cannot be trusted."""
        self._vehicle_id, self._analysts, self._wall_ns = vehicle_id, analysts, wall_ns
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

    def doubt(self, analyst: UserId) -> str:
        """Say why nobody knows whether an analyst is trusted; empty when it is known."""
        file = None if self._analysts is None else self._analysts.doubt(analyst)
        if file is None:
            return ""
        return f"{file} may be the card of {analyst}, and cannot be read"

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
            self._check_expiry(order.spec.not_after_unix_ns, "the assignment")
            return order.spec
        signed = self._signed(order.analyst, order.signed)
        try:
            inner = open_assignment(signed, self._valid(order.analyst))
        except SignatureError as error:
            raise Untrusted("bad_signature", str(error)) from None
        self._check_assignment(order, inner)
        self._check_expiry(inner.spec.not_after_unix_ns, f"assignment {order.assignment_id}")
        return inner.spec

    def check_code(self, order: SetCode) -> None:
        """Refuse code that its analyst did not sign for this vehicle and generation.

        Raises: Untrusted.
        """
        if self._analysts is None:
            return
        signed = self._signed(order.analyst, order.signed)
        try:
            slot = open_slot(signed, self._valid(order.analyst))
        except SignatureError as error:
            raise Untrusted("bad_signature", str(error)) from None
        self._check_expiry(slot.not_after_ns, f"code of {order.analyst}")
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
                + _way_in(
                    analyst, revoked=self._analysts is not None and self._analysts.barred(analyst)
                ),
            )
        if signed is None:
            raise Untrusted("unsigned", f"vehicle {self._vehicle_id} takes signed orders only")
        return signed

    def _valid(self, analyst: UserId) -> tuple[Card, ...]:
        """Return the cards by which new orders of an analyst are taken.

        Raises: Untrusted, when all of them have expired.
        """
        cards = () if self._analysts is None else self._analysts.named(analyst)
        now_ns = self._wall_ns()
        if now_ns is None:
            return cards
        valid = tuple(card for card in cards if not card.expired(now_ns))
        if cards and not valid:
            ends = max(card.not_after for card in cards)
            raise Untrusted(
                "expired_key",
                f"the owner of vehicle {self._vehicle_id} trusted {analyst} until {ends}; "
                "a card that is enrolled anew changes that",
            )
        return valid

    def _check_expiry(self, not_after_ns: int | None, what: str) -> None:
        if not_after_ns is None:
            return
        now_ns = self._wall_ns()
        if now_ns is None:
            log.warning("%s may expire, but this vehicle's clock cannot be trusted: taken", what)
        elif now_ns >= not_after_ns:
            raise Untrusted(
                "expired",
                f"{what} was not to begin after {stamp(not_after_ns)}; it is {stamp(now_ns)}",
            )

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


def _way_in(analyst: UserId, *, revoked: bool) -> str:
    enrol = "`oodida keys enrol CARD --into` its directory of analysts"
    if not revoked:
        return f"{enrol} changes that"
    return (
        "the key was revoked there, which is for good: with new ones (`oodida keys create "
        f"{analyst} --role analyst`) {enrol} changes that"
    )
