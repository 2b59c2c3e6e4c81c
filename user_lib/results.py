"""What comes back, as an analyst reads it: a vehicle's result, and a round."""

import html
from dataclasses import dataclass

from user_lib.contents import Contents
from user_lib.contract.assignment import Json
from user_lib.contract.content import megabytes
from user_lib.contract.escaping import escaped
from user_lib.contract.messages import Group, Result, RoundClosed
from user_lib.contract.states import RoundState
from user_lib.tables import last_words, say

__all__ = ["SHORT_VERSION", "Round", "VehicleResult"]

SHORT_VERSION = 8
"""Digits of a code version that a person is shown."""


@dataclass(frozen=True, repr=False)
class VehicleResult:
    """What one iteration on one vehicle produced; ``receipt`` is all that is known of it.

    A large value is pulled from the cloud when it is looked at.
    """

    receipt: Result
    contents: Contents | None = None

    @property
    def vehicle(self) -> str:
        """The vehicle that computed it."""
        return self.receipt.vehicle_id

    @property
    def iteration(self) -> int:
        """Counted from 1 on each vehicle."""
        return self.receipt.iteration

    @property
    def ok(self) -> bool:
        """Whether the iteration succeeded; if not, `error` says why."""
        return self.receipt.status == "ok"

    @property
    def value(self) -> Json:
        """What the on-board method returned; None when it failed.

        Raises: Rejected, when it is a large one that the cloud did not take; LinkError.
        """
        if self.receipt.payload is None or self.contents is None:
            return self.receipt.value
        return self.contents.body(self.receipt.payload).value

    @property
    def code_version(self) -> str:
        """The sha256 of the custom module that ran; empty for a built-in method."""
        return self.receipt.code_version

    @property
    def error(self) -> str:
        """Why the iteration failed, with the traceback or the limit; empty when it did not."""
        if self.ok:
            return ""
        return f"{self.receipt.reason or self.receipt.status}: {self.receipt.detail}"

    @property
    def error_in_short(self) -> str:
        """`error` in a line: of a traceback its end, the exception; empty when nothing failed."""
        if self.ok:
            return ""
        receipt = self.receipt
        return ": ".join(
            filter(None, (receipt.reason or receipt.status, last_words(receipt.detail)))
        )

    def __repr__(self) -> str:
        payload = self.receipt.payload
        value = self.receipt.value if payload is None else f"content of {megabytes(payload.size)}"
        said = say(value) if self.ok else f"failed, {self.error_in_short}"
        notes = _notes(
            (f"code {self.code_version[:SHORT_VERSION]}", bool(self.code_version)),
            (f"{self.receipt.lost_frames} frames lost", self.receipt.lost_frames > 0),
            (f"interface away {_seconds(self.receipt.away_ms)}", self.receipt.away_ms > 0),
            ("late", self.receipt.late),
            ("rolled back to the last good code", self.receipt.rolled_back is not None),
        )
        return escaped(f"{self.vehicle} iteration {self.iteration}: {said}{notes}")


@dataclass(frozen=True, repr=False)
class Round:
    """One iteration across the vehicles, closed; ``message`` is all that is known of it.

    Large values are pulled from the cloud when they are looked at.
    """

    message: RoundClosed
    contents: Contents | None = None

    @property
    def number(self) -> int:
        """Counted from 1."""
        return self.message.round

    @property
    def state(self) -> RoundState:
        """COMPLETE, or SHORT when fewer than the quorum answered before the deadline."""
        return self.message.state

    @property
    def value(self) -> Json:
        """The off-board method's output for the code version that counts; None without one."""
        return self.groups[0].value if self.message.groups else None

    @property
    def groups(self) -> tuple[Group, ...]:
        """One aggregate for each code version, the one that counts first; never mixed."""
        if self.contents is None:
            return self.message.groups
        return tuple(self.contents.whole_group(group) for group in self.message.groups)

    @property
    def vehicles(self) -> tuple[str, ...]:
        """The vehicles whose results are in an aggregate."""
        return tuple(vehicle for group in self.message.groups for vehicle in group.vehicles)

    @property
    def missing(self) -> tuple[str, ...]:
        """The vehicles that had not answered when the round closed."""
        return self.message.missing

    @property
    def failed(self) -> dict[str, str]:
        """The vehicles whose iteration failed, with the reason."""
        return dict(self.message.failed)

    @property
    def members(self) -> int:
        """How many vehicles the round was opened for."""
        message = self.message
        answered = len(self.vehicles) + len(message.failed) + len(message.not_counted)
        return answered + len(message.missing)

    def __repr__(self) -> str:
        counted = f"{len(self.vehicles)}/{self.members}"
        return escaped(f"round {self.number} {self.state} {counted}: {_said(self.message)}")

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"


def _said(message: RoundClosed) -> str:
    shown = [_say_group(group, many=len(message.groups) > 1) for group in message.groups]
    notes = _notes(
        (f"failed: {', '.join(sorted(message.failed))}", bool(message.failed)),
        (f"missing: {', '.join(message.missing)}", bool(message.missing)),
        (f"another version: {', '.join(sorted(message.not_counted))}", bool(message.not_counted)),
        (f"{message.lost_frames} frames lost", message.lost_frames > 0),
        (f"interfaces away {_seconds(message.away_ms)}", message.away_ms > 0),
    )
    return (" | ".join(shown) or "no result") + notes


def _say_group(group: Group, *, many: bool) -> str:
    large = group.payload
    value = group.value if large is None else f"content of {megabytes(large.size)}"
    said = f"no value, {last_words(group.error)}" if group.error else say(value)
    if not many:
        return said
    return (
        f"code {group.code_version[:SHORT_VERSION] or 'built-in'} ({len(group.vehicles)}): {said}"
    )


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms} ms"


def _notes(*candidates: tuple[str, bool]) -> str:
    said = [text for text, wanted in candidates if wanted]
    return f" ({'; '.join(said)})" if said else ""
