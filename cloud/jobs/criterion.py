"""The stop criterion ``until``, evaluated on what the off-board method returned."""

from user_lib.contract.assignment import Json
from user_lib.contract.errors import ExpressionError
from user_lib.contract.expressions import parse_condition

__all__ = ["names_of", "until_met"]

MAX_NAMES = 1000


def until_met(text: str, value: Json, round_number: int) -> bool:
    """Whether the criterion holds; names are those of `names_of`.

    Raises: ExpressionError, when it reads a name that the value does not have.
    """
    return parse_condition(text, path="until").holds(names_of(value, round_number))


def names_of(value: Json, round_number: int) -> dict[str, float | str | bool]:
    """Return what a criterion may read: ``round`` and the value.

    A single number, string or boolean is ``value``; of a dict, each key, dotted where it is nested.
    Lists have no names.
    """
    names: dict[str, float | str | bool] = {}
    _collect("", value, names)
    names["round"] = round_number
    return names


def _collect(path: str, value: Json, names: dict[str, float | str | bool]) -> None:
    if len(names) >= MAX_NAMES:
        raise ExpressionError(f"the value has more than {MAX_NAMES} names", path="until")
    if isinstance(value, dict):
        for key, inner in value.items():
            _collect(f"{path}.{key}" if path else key, inner, names)
    elif isinstance(value, bool | int | float | str):
        names[path or "value"] = value
