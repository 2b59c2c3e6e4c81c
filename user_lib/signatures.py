"""The signatures of one job: each result is verified before it is handed on."""

from collections.abc import Iterable

from user_lib.connection import Connection
from user_lib.contract.errors import ConfigError, SignatureError
from user_lib.contract.ids import AssignmentId
from user_lib.contract.messages import Event, Proof, Prove, Result
from user_lib.contract.signing import verify_result
from user_lib.vehicle_cards import VehicleCards
from user_lib.verification import Verification, verify

__all__ = ["Signatures"]


class Signatures:
    """Verifies results with the cards of their vehicles; in insecure mode there is nothing to."""

    def __init__(
        self, connection: Connection, assignment_id: AssignmentId, cards: VehicleCards | None
    ) -> None:
        self._connection, self._assignment_id = connection, assignment_id
        self._cards = VehicleCards(None, None) if cards is None else cards

    def check(self, result: Result) -> None:
        """Refuse a result that is not its vehicle's own.

        Raises: SignatureError, saying what to do.
        """
        if self._connection.settings.keys is None:
            return
        if not self._cards.of(result.vehicle_id):
            self._cards.hear(self._prove().cards)
        name = f"iteration {result.iteration} of vehicle {result.vehicle_id}"
        if result.assignment_id != self._assignment_id:
            raise SignatureError(f"{name} is of another assignment, {result.assignment_id}")
        try:
            verify_result(result, self._cards.of(result.vehicle_id))
        except SignatureError as error:
            raise SignatureError(
                f"{name}: {error}; the cloud cannot be believed in this, or the vehicle has new "
                f"keys: then enrol its card in {self._place()} (`oodida keys enrol`)"
            ) from None

    def verify(self, events: Iterable[Event]) -> Verification:
        """Verify a job as a whole.

        Raises: ConfigError, without keys.
        """
        keys = self._connection.settings.keys
        if keys is None:
            raise ConfigError("keys: there are none (insecure), so nothing is signed to verify")
        proof = self._prove()
        self._cards.hear(proof.cards)
        return verify(self._assignment_id, proof, events, keys.own, self._cards)

    def _prove(self) -> Proof:
        return self._connection.ask(Prove(assignment_id=self._assignment_id), Proof)

    def _place(self) -> str:
        settings = self._connection.settings
        return str(settings.vehicles or settings.known_vehicles or "keys: vehicles:")
