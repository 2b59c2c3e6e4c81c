"""An assignment is checked against the grammar, the same way at all three places.

`parse` turns a mapping (from Python, YAML or JSON) into a frozen `Assignment` or raises an
`AssignmentError` that names the key, what it holds, what is allowed and the nearest valid name.
The analyst's side, the cloud and the vehicle all check; none trusts the others to have done so. The
vehicle calls `check`, which is what is left of that once an assignment was decoded.
"""

import datetime as dt
from collections.abc import Mapping

import msgspec

from user_lib.contract.assignment import (
    MAX_SECONDS,
    OFFBOARD_METHODS,
    ONBOARD_METHODS,
    Assignment,
    Json,
    Limits,
    Selector,
    Trigger,
    WindowSpec,
)
from user_lib.contract.errors import AssignmentError, nearest
from user_lib.contract.escaping import steers
from user_lib.contract.expectations import in_words
from user_lib.contract.expressions import parse_condition
from user_lib.contract.ids import is_name
from user_lib.contract.plainness import NotJson, check_json

__all__ = ["check", "parse"]

MAX_PARAMS_BYTES = 256 * 1024
"""Larger ones travel as content."""


def parse(
    spec: "Mapping[str, Json] | Assignment", *, params_bytes: int = MAX_PARAMS_BYTES
) -> Assignment:
    """Check a specification against the grammar; ``params_bytes`` is how large params may be.

    Raises: AssignmentError, with the path of the key at fault; the first mistake found is named.
    """
    if isinstance(spec, Assignment):
        spec = spec.to_dict()
    _refuse_unknown_keys(spec)
    spec = dict(spec)
    for key in ("start", "not_after"):
        if isinstance(spec.get(key), dt.date):  # what YAML makes of a time without quotes
            spec[key] = spec[key].isoformat()
    try:
        assignment = msgspec.convert(spec, Assignment)
    except msgspec.ValidationError as error:
        path, words = in_words(str(error), spec)
        raise AssignmentError(words, path=path) from None
    check(assignment, params_bytes=params_bytes)
    return assignment


def check(assignment: Assignment, *, params_bytes: int = MAX_PARAMS_BYTES) -> None:
    """Check what the types of the grammar do not say; what was decoded has those types already.

    Raises: AssignmentError, as `parse`.
    """
    for part in (
        _check_texts,
        _check_method,
        _check_signals,
        _check_window,
        _check_flow,
        _check_expressions,
    ):
        part(assignment)
    _check_params(assignment, "onboard_params", "onboard_content", params_bytes)
    _check_params(assignment, "offboard_params", "offboard_content", params_bytes)


_PARTS: Mapping[str, type[msgspec.Struct]] = {
    "window": WindowSpec,
    "limits": Limits,
    "vehicles": Selector,
    "when": Trigger,
}


def _refuse_unknown_keys(spec: Mapping[str, Json]) -> None:
    """Name the nearest valid key, which msgspec's own message does not."""
    if not isinstance(spec, Mapping):
        raise AssignmentError(f"an assignment is a mapping of keys, got {type(spec).__name__}")
    _refuse_unknown(spec, Assignment.__struct_fields__, "")
    for key, part in _PARTS.items():
        inner = spec.get(key)
        if isinstance(inner, Mapping):
            _refuse_unknown(inner, part.__struct_fields__, f"{key}.")


def _refuse_unknown(found: Mapping[str, Json], known: tuple[str, ...], prefix: str) -> None:
    for key in found:
        if key not in known:
            near = nearest(str(key), known)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
            raise AssignmentError(f"no such key; {hint}", path=f"{prefix}{key}", near=near)


def _check_texts(a: Assignment) -> None:
    """Refuse what is no text in any encoding, before it fails to be sent or written down."""
    for path, text in (("name", a.name), ("until", a.until or ""), *_named(a)):
        if not text.isascii() and _is_broken(text):
            raise AssignmentError(f"{text!r:.80} holds half a character (a surrogate)", path=path)
    if steers(a.name):
        raise AssignmentError(
            f"{a.name!a:.200} holds characters that show nothing, such as controls or line "
            "ends; use letters, digits, blanks and signs",
            path="name",
        )


def _named(a: Assignment) -> list[tuple[str, str]]:
    return [(f"signals[{i}]", name) for i, name in enumerate(a.signals)]


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _check_method(a: Assignment) -> None:
    _check_one_method(a.onboard, ONBOARD_METHODS, "onboard", external=True)
    _check_one_method(a.offboard, OFFBOARD_METHODS, "offboard", external=False)


def _check_params(a: Assignment, path: str, beside: str, most: int) -> None:
    params: dict[str, Json] = getattr(a, path)
    if params and getattr(a, beside) is not None:
        raise AssignmentError(f"stands beside {beside}; give one of them", path=path)
    _check_json(params, path, most)
    try:
        size = len(msgspec.msgpack.encode(params))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise AssignmentError(f"cannot travel as JSON: {error}", path=path) from None
    if size > most:
        raise AssignmentError(
            f"{size} bytes; at most {most} are allowed here; user_lib sends more as content",
            path=path,
        )


def _check_json(params: Json, path: str, most_bytes: int) -> None:
    try:
        check_json(params, path, finite=True, most=most_bytes)  # each takes a byte and more
    except NotJson as error:
        raise AssignmentError(str(error), path=error.path) from None


def _check_one_method(name: str, builtin: tuple[str, ...], path: str, *, external: bool) -> None:
    if name == "custom" or name in builtin:
        return
    if external and name.startswith("external:") and is_name(name.removeprefix("external:")):
        return
    allowed = ("custom", *builtin)
    near = nearest(name, allowed)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(allowed)}"
    more = " or external:NAME" if external else ""
    raise AssignmentError(f"no method {name!r}; {hint}{more}", path=path, near=near)


def _check_signals(a: Assignment) -> None:
    for i, name in enumerate(a.signals):
        if not name.strip() or name != name.strip() or len(name) > 256:
            raise AssignmentError(f"{name!r} is not a signal's name", path=f"signals[{i}]")
    repeated = {s for s in a.signals if a.signals.count(s) > 1}
    if repeated:
        raise AssignmentError(f"{', '.join(sorted(repeated))} named twice", path="signals")
    if isinstance(a.vehicles, tuple) and not a.vehicles:
        raise AssignmentError("an empty list selects no vehicle; write all", path="vehicles")
    if isinstance(a.vehicles, Selector) and a.vehicles == Selector():
        raise AssignmentError("give fraction, where or limit, or write all", path="vehicles")


def _check_window(a: Assignment) -> None:
    w = a.window
    look_back = a.look_back_s
    if look_back is not None:
        _check_look_back(a, look_back)
        return
    if (w.samples is None) == (w.seconds is None):
        found = "both" if w.samples is not None else "neither"
        raise AssignmentError(f"give samples or seconds, found {found}", path="window")
    if w.samples is not None and a.rate_hz is not None and w.samples / a.rate_hz > MAX_SECONDS:
        raise AssignmentError(
            f"{w.samples} samples at {a.rate_hz} Hz take longer than {MAX_SECONDS:g} s",
            path="rate_hz",
        )
    if w.every is not None and a.when is not None:
        raise AssignmentError("a triggered window has no every", path="window.every")
    if w.every is not None and w.seconds is not None and w.every < w.seconds:
        raise AssignmentError(
            f"windows of {w.seconds} s cannot start every {w.every} s without overlapping",
            path="window.every",
        )


def _check_look_back(a: Assignment, look_back: tuple[float, float]) -> None:
    w = a.window
    if a.when is None:
        raise AssignmentError("before_s and after_s need a when condition", path="window")
    if sum(look_back) <= 0:
        raise AssignmentError("before_s and after_s are both 0: nothing is kept", path="when")
    if w.samples is not None or w.seconds is not None or w.every is not None:
        raise AssignmentError(
            "a look-back is the window: leave samples and seconds out", path="window"
        )
    if isinstance(a.when, Trigger) and (w.before_s is not None or w.after_s is not None):
        raise AssignmentError("the look-back is given twice, in when and in window", path="window")


def _check_flow(a: Assignment) -> None:
    if a.when is not None:
        for key, given in (("feedback", a.feedback), ("until", a.until is not None)):
            if given:
                raise AssignmentError(
                    "an assignment with when has no rounds, so not this", path=key
                )
    start_ns, not_after_ns = a.start_unix_ns, a.not_after_unix_ns  # raise if they are no times
    if start_ns is not None and not_after_ns is not None and not_after_ns <= start_ns:
        raise AssignmentError("is not later than start: it could never begin", path="not_after")


def _check_expressions(a: Assignment) -> None:
    _ = a.trigger
    if a.until is not None:
        parse_condition(a.until, path="until")
    if isinstance(a.vehicles, Selector) and a.vehicles.where is not None:
        parse_condition(a.vehicles.where, path="vehicles.where")
