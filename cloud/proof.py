"""What an analyst needs to verify an assignment without trusting the cloud."""

from itertools import chain

import msgspec

from cloud.context import Context
from cloud.ledger import AssignmentRow, GenerationRow
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Proof

__all__ = ["proof"]

CONTENTS = 1000
"""The newest contents of the slot that are told."""
ENDS = 400
"""Of so many vehicles a page tells how their task ended: each may come with a traceback."""


def proof(context: Context, row: AssignmentRow, after: VehicleId | None) -> Proof:
    """Return the signed orders behind an assignment, its vehicles' cards, and how they ended."""
    ends = context.ledger.members.ends(row.row, after or "", ENDS)
    page = Proof(
        assignment_id=row.assignment_id,
        ends=tuple(ends),
        next_after=ends[-1].vehicle_id if len(ends) == ENDS else None,
    )
    return page if after is not None else _with_orders(page, context, row)


def _with_orders(page: Proof, context: Context, row: AssignmentRow) -> Proof:
    contents: tuple[GenerationRow, ...] = ()
    if row.spec.onboard == "custom":
        contents = tuple(context.ledger.code.latest(row.analyst, "onboard", CONTENTS))
    vehicles = context.ledger.members.vehicles(row.row)
    return msgspec.structs.replace(
        page,
        signed=row.signed,
        code=tuple(c.signed for c in contents if c.signed is not None),
        cards=tuple(chain.from_iterable(context.auth.cards_of(v) for v in vehicles)),
    )
