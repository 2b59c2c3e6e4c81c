"""Tell which frames have a multiplexer value that their database does not know."""

import numpy as np
from numpy.typing import NDArray

from dbc.bits import raw_integers
from dbc.model import MessageDef, SignalDef

__all__ = ["has_unknown_page"]


def has_unknown_page(
    message: MessageDef, data: NDArray[np.uint8], values: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell where a switch that is there chooses no page; cantools refuses such a frame whole.

    Shapes: data (n, stride); values (n, signals), as decoded; result (n,).
    """
    unknown = np.zeros(len(data), np.bool_)
    for column, switch in enumerate(message.signals):
        pages = [p for s in message.signals for p in _pages(s, switch.name)]
        if not pages or not switch.is_switch:
            continue
        pages += [(raw, raw) for raw in switch.choices]
        chosen = raw_integers(data, switch)
        if switch.scale != 1.0 or switch.offset != 0.0:
            chosen = np.trunc(values[:, column])
        known = np.zeros(len(data), np.bool_)
        for low, high in pages:
            known |= (chosen >= low) & (chosen <= high)
        unknown |= ~np.isnan(values[:, column]) & ~known
    return unknown


def _pages(signal: SignalDef, switch: str) -> list[tuple[int, int]]:
    layouts = (signal, *signal.variants)
    return [page for s in layouts if s.multiplexed_by == switch for page in s.multiplex_ids]
