"""What J1939 adds to a database: parameter groups, and values that say that there is none."""

import numpy as np
from numpy.typing import NDArray

from dbc.model import SignalDef

__all__ = ["absent_from", "parameter_group"]

_PDU1_LIMIT = 0xF0
_ERROR_BYTE = 0xFE


def parameter_group(can_id: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the parameter group number of 29-bit ids, without a destination; 18 bits."""
    group = (can_id >> np.uint32(8)) & np.uint32(0x3FFFF)
    addressed = ((group >> np.uint32(8)) & np.uint32(0xFF)) < _PDU1_LIMIT
    return np.where(addressed, group & np.uint32(0x3FF00), group)


def absent_from(signal: SignalDef) -> int | None:
    """Return the raw value from which on a signal says "error" or "not available"; None: never.

    From 8 bits on these are the values whose top byte is 0xFE and 0xFF; of two bits, 2 and 3; of
    other widths only the value of all ones, since the one below it is in use there.

    Source: SAE J1939-71, ranges of transmitted signals and of discrete parameters.
    """
    if signal.signed or signal.is_float or signal.length == 1:
        return None
    if signal.length >= 8:
        return _ERROR_BYTE << (signal.length - 8)
    return 2 if signal.length == 2 else (1 << signal.length) - 1
