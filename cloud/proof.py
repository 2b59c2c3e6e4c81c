"""What an analyst needs to verify an assignment without trusting the cloud."""

from itertools import chain

from cloud.context import Context
from cloud.ledger import AssignmentRow, GenerationRow
from user_lib.contract.messages import Proof

__all__ = ["proof"]

CONTENTS = 1000
"""The newest contents of the slot that are told."""


def proof(context: Context, row: AssignmentRow) -> Proof:
    """Return the signed orders behind an assignment, and the cards of its vehicles."""
    contents: tuple[GenerationRow, ...] = ()
    if row.spec.onboard == "custom":
        contents = tuple(context.ledger.code.latest(row.analyst, "onboard", CONTENTS))
    vehicles = context.ledger.assignments.vehicles(row.row)
    return Proof(
        assignment_id=row.assignment_id,
        signed=row.signed,
        code=tuple(c.signed for c in contents if c.signed is not None),
        cards=tuple(chain.from_iterable(context.auth.cards_of(v) for v in vehicles)),
    )
