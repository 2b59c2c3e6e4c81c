"""The assignment grammar: what an analyst submits, key by key; `contract.validation` checks it."""

import datetime as dt
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from user_lib.contract.content import Content
from user_lib.contract.errors import AssignmentError
from user_lib.contract.expressions import Expression, parse_condition
from user_lib.contract.ids import VehicleId

__all__ = [
    "MAX_SECONDS",
    "OFFBOARD_METHODS",
    "ONBOARD_METHODS",
    "SELECTABLE",
    "Assignment",
    "Json",
    "Limits",
    "Selector",
    "Trigger",
    "WindowSpec",
    "json_schema",
]

Json: TypeAlias = Any
"""A JSON value: number, string, boolean, None, list or dict with string keys."""

ONBOARD_METHODS = (
    "collect",
    "count",
    "histogram",
    "least_squares",
    "logistic_regression",
    "max",
    "mean",
    "median",
    "min",
    "quantiles",
    "sample",
    "std",
    "sum",
    "threshold",
    "wordcount",
)
OFFBOARD_METHODS = ("collect", "fedavg", "mean", "merge", "sum", "weighted_mean")
SELECTABLE = ("vehicle", "model", "agent", "profile", "epoch")
"""What a ``where`` expression may read besides the vehicle's own tags."""

MAX_SIGNALS = 256
MAX_SECONDS = 1e9
"""Some thirty years: in nanoseconds still far within 64 bits."""

Positive = Annotated[float, msgspec.Meta(gt=0, le=MAX_SECONDS)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)]
Fraction = Annotated[float, msgspec.Meta(gt=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A piece of the grammar."""


class Selector(_Part, frozen=True):
    """Which vehicles: a random ``fraction`` (seeded), a ``where`` condition, at most ``limit``."""

    fraction: Fraction | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] = 0
    where: str | None = None
    limit: Count | None = None


class WindowSpec(_Part, frozen=True):
    """How much data an iteration takes: a count, a time, or a look-back around a trigger."""

    samples: Count | None = None
    """Samples of the first-named signal."""
    seconds: Positive | None = None
    every: Positive | None = None
    """Seconds from the start of one window to the start of the next; without it, consecutive."""
    before_s: NotNegative | None = None
    after_s: NotNegative | None = None


class Trigger(_Part, frozen=True):
    """The long form of ``when``: a condition with its look-back."""

    condition: str
    before_s: NotNegative = 0.0
    after_s: NotNegative = 0.0


class Limits(_Part, frozen=True):
    """What one iteration may use; the vehicle's own policy caps it."""

    cpu_s: Positive = 2.0
    memory_mb: Annotated[int, msgspec.Meta(ge=16, le=1 << 20)] = 256
    wall_s: Positive = 10.0


class Assignment(_Part, frozen=True, kw_only=True, dict=True):
    """What to compute, on which vehicles and signals, how often, and how to aggregate it."""

    signals: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_SIGNALS)]
    onboard: str
    offboard: str = "collect"
    window: WindowSpec = WindowSpec()
    name: Annotated[str, msgspec.Meta(max_length=100)] = ""
    vehicles: Literal["all"] | tuple[VehicleId, ...] | Selector = "all"
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=10_000)] | None = None
    when: str | Trigger | None = None
    onboard_params: dict[str, Json] = {}
    offboard_params: dict[str, Json] = {}
    onboard_content: Content | None = None
    """Stands for ``onboard_params`` that are too large for a message; the library sets it."""
    offboard_content: Content | None = None
    """Stands for ``offboard_params``, likewise."""
    iterations: Count | Literal["forever"] = 1
    feedback: bool = False
    until: str | None = None
    start: str = "now"
    not_after: str | None = None
    """ISO 8601: a vehicle that gets it later, or has not begun by then, does not begin."""
    duration_s: Positive | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=9)] = 5
    quorum: Fraction = 1.0
    deadline_s: Positive = 60.0
    limits: Limits = Limits()

    @property
    def trigger(self) -> Expression | None:
        """The parsed ``when`` condition."""
        if self.when is None:
            return None
        text = self.when if isinstance(self.when, str) else self.when.condition
        return parse_condition(text, path="when")

    @property
    def look_back_s(self) -> tuple[float, float] | None:
        """Seconds kept before and after a trigger; None when the window follows the trigger."""
        if isinstance(self.when, Trigger):
            return self.when.before_s, self.when.after_s
        if self.window.before_s is None and self.window.after_s is None:
            return None
        return self.window.before_s or 0.0, self.window.after_s or 0.0

    @property
    def last_iteration(self) -> int | None:
        """The number of iterations; None for ``forever``."""
        return None if self.iterations == "forever" else int(self.iterations)

    @cached_property
    def start_unix_ns(self) -> int | None:
        """When to start, ns since the Unix epoch; None for ``now``."""
        return None if self.start == "now" else _parse_time(self.start)

    @cached_property
    def not_after_unix_ns(self) -> int | None:
        """When it may no longer begin, ns since the Unix epoch; None for never."""
        return None if self.not_after is None else _parse_time(self.not_after, "not_after")

    @property
    def has_rounds(self) -> bool:
        """Whether iterations of the vehicles belong together; with ``when`` they do not."""
        return self.when is None

    def to_dict(self) -> dict[str, Json]:
        """Return the assignment in the grammar, without what is at its default.

        Params stay as they are, also those that are not JSON: they were changed or raise otherwise.
        """
        bare = msgspec.structs.replace(self, onboard_params={}, offboard_params={})
        plain: dict[str, Json] = msgspec.to_builtins(bare)
        params = {"onboard_params": self.onboard_params, "offboard_params": self.offboard_params}
        return plain | {key: given for key, given in params.items() if given}


def json_schema() -> dict[str, Any]:
    """Return the grammar as a JSON Schema (draft 2020-12)."""
    return msgspec.json.schema(Assignment)


def _parse_time(text: str, path: str = "start") -> int:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise AssignmentError(
            f"{text!r} is {'neither now nor' if path == 'start' else 'not'} a time such as "
            "2026-05-01T08:00:00Z",
            path=path,
        ) from None
    if moment.tzinfo is None:
        raise AssignmentError(f"{text!r} has no time zone; end it with Z or +02:00", path=path)
    since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
