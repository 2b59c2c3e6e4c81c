"""An assignment's `signals`, `window`, `rate_hz` and `when`, with every name resolved.

A window holds what has ``start_ns <= t < stop_ns``. It extends either over a ``duration_ns`` or
over a ``count`` of samples of the first-named signal (then it stops 1 ns after the last of them).
With ``rate_hz``, `samples` counts points of a grid, so the window extends over their duration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from agent.signals.names import Signal, SignalNames, lead_of, leaves_of
from user_lib.contract.assignment import Assignment
from user_lib.contract.clock import SECOND
from user_lib.contract.errors import ExpressionError
from user_lib.contract.expressions import Expression

__all__ = ["Condition", "Plan", "plan_of"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What triggers: an expression, and its signals by the names it reads.

    The window begins ``before_ns`` ahead of the trigger; None: it follows the trigger.
    """

    expression: Expression
    signals: Mapping[str, Signal]
    before_ns: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a cursor gathers."""

    signals: tuple[Signal, ...]
    count: int | None = None
    duration_ns: int | None = None
    every_ns: int | None = None
    rate_hz: float | None = None
    condition: Condition | None = None

    @property
    def lead(self) -> Signal:
        """The first-named signal: the one whose samples are counted."""
        return self.signals[0]

    @cached_property
    def lead_message(self) -> int:
        """The message whose rows bring the samples of the first-named signal."""
        return lead_of(self.lead).message

    @cached_property
    def window_messages(self) -> tuple[int, ...]:
        """The messages that the window is made of, the leading one first."""
        parts = [part for signal in self.signals for part in leaves_of(signal)]
        return tuple(dict.fromkeys(part.message for part in parts))

    @cached_property
    def messages(self) -> tuple[int, ...]:
        """All messages that are read, those of the condition included."""
        if self.condition is None:
            return self.window_messages
        signals = self.condition.signals.values()
        parts = [part for signal in signals for part in leaves_of(signal)]
        return tuple(dict.fromkeys((*self.window_messages, *(part.message for part in parts))))


def plan_of(assignment: Assignment, names: SignalNames) -> Plan:
    """Resolve what an assignment asks for.

    Raises: UnknownSignal, with the nearest names; ExpressionError, if the condition cannot be
            computed on numbers.
    """
    signals = tuple(
        names.resolve(name, path=f"signals[{i}]") for i, name in enumerate(assignment.signals)
    )
    count, duration_ns = _extent(assignment)
    every = assignment.window.every
    return Plan(
        signals=signals,
        count=count,
        duration_ns=duration_ns,
        every_ns=None if every is None else _nanoseconds(every),
        rate_hz=assignment.rate_hz,
        condition=_condition(assignment, names),
    )


def _nanoseconds(seconds: float) -> int:
    return max(round(seconds * SECOND), 1)


def _extent(assignment: Assignment) -> tuple[int | None, int | None]:
    look_back = assignment.look_back_s
    window = assignment.window
    if look_back is not None:  # the sample at trigger + after_s is the last one inside
        return None, round(look_back[0] * SECOND) + round(look_back[1] * SECOND) + 1
    if window.seconds is not None:
        return None, _nanoseconds(window.seconds)
    count = window.samples or 1
    if assignment.rate_hz is not None:
        return None, _nanoseconds(count / assignment.rate_hz)
    return count, None


def _condition(assignment: Assignment, names: SignalNames) -> Condition | None:
    expression = assignment.trigger
    if expression is None:
        return None
    signals = {name: names.resolve(name, path="when") for name in expression.names}
    if not signals:
        raise ExpressionError(f"{expression.text!r} names no signal", path="when")
    _refuse_text(expression)
    look_back = assignment.look_back_s
    if look_back is None:
        return Condition(expression, signals)
    return Condition(expression, signals, round(look_back[0] * SECOND))


def _refuse_text(expression: Expression) -> None:
    """Refuse a comparison with a text, which would never be true."""
    for text in expression.texts:
        raise ExpressionError(
            f"{expression.text!r} compares with the text {text!r}, but signals are numbers; "
            "fleet.signals() shows which number stands for it",
            path="when",
        )
