"""When enough members of a round have answered."""

__all__ = ["is_met"]

_ROUNDING = 1e-9
"""So that a quorum of 0.7 of 10 vehicles is 7, not 8."""


def is_met(quorum: float, answered: int, asked: int) -> bool:
    """Whether ``answered`` of ``asked`` vehicles are the share that ``quorum`` wants."""
    return answered + _ROUNDING >= quorum * asked
