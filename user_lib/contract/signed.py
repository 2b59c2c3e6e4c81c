"""What is signed end to end, as bytes: orders of an analyst, results of a vehicle.

The bytes that were signed travel as they are and are parsed only after the signature holds. This
module has no cryptography, so that messages can name its structs anywhere; `contract.signing` has.

What may be where: an `AssignmentOrder` does not tell a vehicle which others were selected by name,
but lets it see that it is among them (`audience`). A `SlotOrder` is the whole content of a slot:
whoever has it knows which version each vehicle is to run, and cannot mix it with another.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from user_lib.contract.assignment import Assignment
from user_lib.contract.digest import sha256
from user_lib.contract.ids import AssignmentId, UserId, VehicleId

__all__ = [
    "AssignmentOrder",
    "CancelOrder",
    "Signed",
    "SlotOrder",
    "assignment_id_of",
    "audience_of",
    "order_of",
]

MARK_BYTES = 8
MAX_GENERATION = 2**53


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes and the Ed25519 signature over them."""

    body: bytes
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]

    @property
    def digest(self) -> str:
        """Names the content: sha256 of the body, in hex."""
        return sha256(self.body).hex()


class AssignmentOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An analyst wants this done. The same ``token`` again is the same assignment."""

    analyst: UserId
    token: str
    created_ns: int
    """The analyst's clock, for a person who reads it; what expires is in ``spec``."""
    spec: Assignment
    """With ``vehicles: all`` in place of a list of ids."""
    audience: bytes | None = None
    """For a list of ids, their marks (8 bytes each); None when the cloud selects."""

    @property
    def marks(self) -> frozenset[bytes]:
        """The marks in the audience; none when the cloud selects."""
        audience = self.audience or b""
        starts = range(0, len(audience), MARK_BYTES)
        return frozenset(audience[i : i + MARK_BYTES] for i in starts)

    def mark_of(self, vehicle_id: VehicleId) -> bytes:
        """Return the mark that a vehicle has in the audience, if it is in it."""
        return _mark(self.token, vehicle_id)

    def includes(self, vehicle_id: VehicleId) -> bool:
        """Whether the order may be given to a vehicle."""
        return self.audience is None or self.mark_of(vehicle_id) in self.marks


class SlotOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An analyst wants a code slot to hold this from ``generation`` on."""

    analyst: UserId
    side: Literal["onboard", "offboard"]
    generation: Annotated[int, msgspec.Meta(ge=1, le=MAX_GENERATION)]
    version: str
    """The default version; empty for none."""
    overrides: dict[VehicleId, str] = {}
    created_ns: int
    not_after_ns: int | None = None
    """A vehicle with a trusted clock does not arm it later; ns since the Unix epoch."""
    previous: str = ""
    """The digest of the content before; empty for the first."""

    def version_for(self, vehicle_id: VehicleId) -> str:
        """Return the version that a vehicle is to run; empty for none."""
        return self.overrides.get(vehicle_id, self.version)


class CancelOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An analyst wants an assignment to end. An id is given once, so a repeat ends nothing else."""

    analyst: UserId
    assignment_id: AssignmentId
    created_ns: int


def order_of(analyst: UserId, token: str, spec: Assignment, created_ns: int) -> AssignmentOrder:
    """Return the order for an assignment."""
    audience = None
    if isinstance(spec.vehicles, tuple):
        audience = audience_of(token, spec.vehicles)
        spec = msgspec.structs.replace(spec, vehicles="all")
    return AssignmentOrder(
        analyst=analyst, token=token, created_ns=created_ns, spec=spec, audience=audience
    )


def audience_of(token: str, vehicles: Iterable[VehicleId]) -> bytes:
    """Return the marks of some vehicles, in no telling order."""
    return b"".join(sorted(_mark(token, vehicle) for vehicle in vehicles))


def assignment_id_of(analyst: UserId, token: str) -> AssignmentId:
    """Return the one id that an order can have: so it cannot be given twice under two."""
    digest = sha256(f"{analyst}\0{token}".encode()).hex()
    return f"job-{digest[:16]}"


def _mark(token: str, vehicle_id: VehicleId) -> bytes:
    return sha256(f"{token}\0{vehicle_id}".encode())[:MARK_BYTES]
