"""Which role may ask what: the fleet is for operators and engineers, data only for analysts."""

from collections.abc import Mapping

from user_lib.contract.card import Role
from user_lib.contract.errors import Rejected
from user_lib.contract.messages import Ask, ListSignals, ListVehicles, Ping

__all__ = ["check_role"]

_MAY: Mapping[Role, tuple[type[Ask], ...]] = {
    "operator": (Ping, ListVehicles),
    "engineer": (Ping, ListVehicles, ListSignals),
}
"""Analysts may ask everything, of what is their own."""


def check_role(role: Role, ask: Ask) -> None:
    """Refuse what a role may not ask.

    Raises: Rejected, saying what it may.
    """
    if role == "analyst" or isinstance(ask, _MAY.get(role, ())):
        return
    words = ", ".join(_words(kind) for kind in _MAY.get(role, ())) or "nothing"
    raise Rejected(
        f"{_words(type(ask))} is not for the role {role}, which may ask: {words}; an analyst's key "
        "is needed",
        reason="forbidden_role",
    )


def _words(kind: type[Ask]) -> str:
    return str(kind.__struct_config__.tag).replace("_", " ")
