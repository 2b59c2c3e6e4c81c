"""Whether the order that the cloud tells of is the one that its analyst signed."""

from collections.abc import Iterator

import msgspec

from user_lib.contract.assignment import Assignment
from user_lib.contract.messages import JobInfo
from user_lib.contract.signed import AssignmentOrder, order_of
from user_lib.verification.completeness import names

__all__ = ["differences"]


def differences(order: AssignmentOrder, told: JobInfo) -> Iterator[str]:
    """Say what the cloud tells otherwise: of the assignment, and of whom it was given to."""
    spec = _as_it_travels(told.spec)
    again = order_of(told.analyst, order.token, spec, order.created_ns)
    keys = [
        key
        for key in Assignment.__struct_fields__
        if _bytes(getattr(again.spec, key)) != _bytes(getattr(order.spec, key))
    ]
    if again.audience != order.audience:
        keys.append("vehicles")
    if again.analyst != order.analyst:
        keys.append("analyst")
    if keys:
        yield f"the cloud tells of another assignment than you signed: {names(keys)} differ"
    strangers = sorted(v for v in told.vehicles if not order.includes(v))
    if strangers:
        yield f"the cloud says that it was given to vehicles you did not name: {names(strangers)}"


def _as_it_travels(spec: Assignment) -> Assignment:
    """Return an assignment as it is once it was sent: a tuple in its parameters is a list then."""
    return msgspec.msgpack.decode(_bytes(spec), type=Assignment)


def _bytes(part: object) -> bytes:
    """Return what is compared: in bytes, 1 is neither 1.0 nor True."""
    return msgspec.msgpack.encode(part)
