"""An analyst's two code slots as a person reads them, and how long a swap took."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from user_lib.contract.messages import CodeSlot, CodeSlots, CodeState
from user_lib.results import SHORT_VERSION
from user_lib.tables import Column, Table, render_text

__all__ = ["CodeOverview", "CodeUpdate", "SwapLatency", "slot_text"]

_COLUMNS: Mapping[str, Column[CodeState]] = {
    "vehicle": lambda s: s.vehicle_id,
    "version": lambda s: s.version[:SHORT_VERSION] or None,
    "state": lambda s: _state(s),
    "armed after": lambda s: _ms(s.swap_ms),
    "first result after": lambda s: _ms(s.first_result_ms),
    "detail": lambda s: _last_line(s.detail),
}


@dataclass(frozen=True)
class SwapLatency:
    """How long a new version took over ``vehicles`` vehicles; None where none has answered.

    Units: ms, counted from the analyst's call. ``armed``: until the version was verified and
           armed. ``first_result``: until the first result that it produced, which waits for a
           window. Both are upper bounds: the cloud counts from when it received the module, and
           the whole time of the call that brought it there is added.
    """

    vehicles: int
    armed_p50_ms: float | None
    armed_p99_ms: float | None
    first_result_p50_ms: float | None
    first_result_p99_ms: float | None

    @classmethod
    def of(cls, states: Iterable[CodeState], call_ms: float) -> "SwapLatency":
        """Return the percentiles over the vehicles that armed a version."""
        states = list(states)
        armed = [s.swap_ms + call_ms for s in states if s.swap_ms is not None]
        first = [s.first_result_ms + call_ms for s in states if s.first_result_ms is not None]
        return cls(
            len(armed),
            _percentile(armed, 50),
            _percentile(armed, 99),
            _percentile(first, 50),
            _percentile(first, 99),
        )

    def __str__(self) -> str:
        if self.armed_p50_ms is None:
            return "no vehicle has armed it yet"
        text = (
            f"armed on {self.vehicles} within {_ms(self.armed_p50_ms)} (p50), "
            f"{_ms(self.armed_p99_ms)} (p99)"
        )
        if self.first_result_p50_ms is None:
            return text
        return (
            f"{text}; first result within {_ms(self.first_result_p50_ms)} (p50), "
            f"{_ms(self.first_result_p99_ms)} (p99)"
        )


@dataclass(frozen=True, repr=False)
class CodeUpdate:
    """What became of a change of a slot, as far as the vehicles have told."""

    slot: CodeSlot
    call_ms: float
    """How long the call took that brought the module to the cloud."""

    @property
    def version(self) -> str:
        """The sha256 of the slot's default content; empty when the slot is empty."""
        return self.slot.version

    @property
    def generation(self) -> int:
        """The number of this content of the slot; every change increases it."""
        return self.slot.generation

    @property
    def vehicles(self) -> Table[CodeState]:
        """Each vehicle's state; for the off-board side, the cloud's."""
        return Table(self.slot.vehicles, _COLUMNS, "no vehicle is known to the cloud")

    @property
    def pending(self) -> tuple[str, ...]:
        """The vehicles that are online and have not answered yet."""
        return tuple(s.vehicle_id for s in self.slot.vehicles if s.state == "pending")

    @property
    def refused(self) -> dict[str, str]:
        """The vehicles that refused the version or went back to the last good one, with why."""
        bad = ("refused", "rolled_back")
        return {s.vehicle_id: s.detail for s in self.slot.vehicles if s.state in bad}

    @property
    def latency(self) -> SwapLatency:
        """How long it took until the vehicles had the version."""
        return SwapLatency.of(self.slot.vehicles, self.call_ms)

    def __repr__(self) -> str:
        if not self.slot.version and not self.slot.overrides:
            return slot_text(self.slot)
        return f"{slot_text(self.slot, call_ms=self.call_ms)}\n{self.latency}"


@dataclass(frozen=True, repr=False)
class CodeOverview:
    """Both slots of an analyst."""

    onboard: CodeSlot
    offboard: CodeSlot

    @classmethod
    def of(cls, slots: CodeSlots) -> "CodeOverview":
        """Return what the cloud answered, for a person."""
        return cls(slots.onboard, slots.offboard)

    def __repr__(self) -> str:
        return f"{slot_text(self.onboard)}\n\n{slot_text(self.offboard)}"


def slot_text(slot: CodeSlot, *, call_ms: float = 0.0) -> str:
    """Return a slot's head line and, when it has content, its vehicles.

    ``call_ms``, how long the analyst's call took, is added to what the cloud measured since.
    """
    if not slot.version and not slot.overrides:
        return f"{slot.side} slot: empty"
    head = f"{slot.side} slot: version {slot.version[:SHORT_VERSION] or 'none'}, "
    head += f"generation {slot.generation}"
    if slot.overrides:
        head += f", another version on {', '.join(sorted(slot.overrides))}"
    if not slot.vehicles:
        return head
    states = (_since_call(s, call_ms) for s in slot.vehicles)
    cells = ([str(c(s) or "-") for c in _COLUMNS.values()] for s in states)
    return f"{head}\n{render_text(list(_COLUMNS), cells)}"


def _state(state: CodeState) -> str:
    """Say what became of a version; in force for want of a better one, it may yet fail."""
    if state.state == "armed" and state.detail:
        return "armed, fails"
    words = state.state.replace("_", " ")
    return f"{words}, runs {state.runs[:SHORT_VERSION]}" if state.runs else words


def _last_line(detail: str) -> str:
    """Return what a traceback ends with; `CodeUpdate.refused` holds it all."""
    lines = detail.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _since_call(state: CodeState, call_ms: float) -> CodeState:
    swap, first = state.swap_ms, state.first_result_ms
    return msgspec.structs.replace(
        state,
        swap_ms=None if swap is None else swap + call_ms,
        first_result_ms=None if first is None else first + call_ms,
    )


def _percentile(values: list[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} ms"
