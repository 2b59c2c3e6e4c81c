"""The signatures of one job: what a vehicle said is verified before it is handed on."""

from collections.abc import Iterable

import msgspec

from user_lib.connection import Connection
from user_lib.contents import Contents
from user_lib.contract.errors import ConfigError, ProtocolError, SignatureError
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import (
    Events,
    JobChanged,
    JobInfo,
    Losses,
    Proof,
    Prove,
    Result,
    RoundClosed,
    TaskEnded,
)
from user_lib.contract.signing import verify_item
from user_lib.vehicle_cards import VehicleCards
from user_lib.verification.chain import verify
from user_lib.verification.findings import Verification
from user_lib.verification.vehicle_words import is_vehicles_word, tells

__all__ = ["Signatures"]


class Signatures:
    """Verifies with the cards of the vehicles; in insecure mode there is nothing to verify."""

    def __init__(
        self, connection: Connection, assignment_id: AssignmentId, cards: VehicleCards | None
    ) -> None:
        self._connection, self._assignment_id = connection, assignment_id
        self._cards = VehicleCards(None, None) if cards is None else cards

    def check(self, item: Result | RoundClosed | JobChanged) -> None:
        """Refuse what is of another assignment, or told of a vehicle and not its own word.

        Raises: SignatureError, saying what to do.
        """
        if self._connection.settings.keys is None:
            return
        if isinstance(item, RoundClosed):
            if item.assignment_id != self._assignment_id:
                name = f"round {item.round}"
                raise SignatureError(f"{name} is of another assignment, {item.assignment_id}")
        elif isinstance(item, Result):
            self._check(item, f"iteration {item.iteration} of vehicle {item.vehicle_id}")
        elif is_vehicles_word(item):
            name = f"{item.reason} of vehicle {item.vehicle_id}"
            if item.said is None or not tells(item, item.said):
                raise SignatureError(f"{name}: the cloud tells something else than the vehicle")
            self._check(item.said, name)

    def _check(self, item: Result | TaskEnded | Losses, name: str) -> None:
        if not self._cards.of(item.vehicle_id):
            self._cards.hear(self._prove().cards)
        if item.assignment_id != self._assignment_id:
            raise SignatureError(f"{name} is of another assignment, {item.assignment_id}")
        try:
            verify_item(item, self._cards.of(item.vehicle_id))
        except SignatureError as error:
            raise SignatureError(
                f"{name}: {error}; the cloud cannot be believed in this, or the vehicle has new "
                f"keys: then enrol its card in {self._place()} (`oodida keys enrol`)"
            ) from None

    def verify(self, told: JobInfo, pages: Iterable[Events], contents: Contents) -> Verification:
        """Verify a job as a whole; ``told`` is what the cloud says that it is.

        Raises: ConfigError, without keys.
        """
        keys = self._connection.settings.keys
        if keys is None:
            raise ConfigError("keys: there are none (insecure), so nothing is signed to verify")
        proof = self._prove()
        self._cards.hear(proof.cards)
        return verify(told, proof, pages, keys.own, self._cards, contents)

    def _prove(self) -> Proof:
        """Return the whole proof, however many pages it takes."""
        proof = page = self._connection.ask(Prove(assignment_id=self._assignment_id), Proof)
        ends = list(page.ends)
        while page.next_after is not None:
            ask = Prove(assignment_id=self._assignment_id, after=page.next_after)
            following = self._connection.ask(ask, Proof)
            if following.next_after is not None and following.next_after <= page.next_after:
                raise ProtocolError("the cloud turns the pages of its proof back")
            page = following
            ends += page.ends
        return msgspec.structs.replace(proof, ends=tuple(ends))

    def _place(self) -> str:
        settings = self._connection.settings
        return str(settings.vehicles or settings.known_vehicles or "keys: vehicles:")
