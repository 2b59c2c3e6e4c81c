"""The links of a chain, which of them is the first that is open, and how all of it is shown."""

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import msgspec

from user_lib.contract.escaping import LINES, escaped

__all__ = ["Diagnosis", "Link", "Verdict", "diagnosis_text"]

Verdict = Literal["yes", "no", "unknown"]
_MARKS: Mapping[Verdict, str] = {"yes": " ok ", "no": " NO ", "unknown": "  ? "}


class Link(msgspec.Struct, frozen=True):
    """One link of the chain; ``found`` says in words what there is, ``advice`` what to do."""

    name: str
    holds: Verdict
    found: str = ""
    advice: str = ""


class Diagnosis(msgspec.Struct, frozen=True):
    """The chain of one vehicle."""

    vehicle_id: str
    links: tuple[Link, ...]
    ended: str = ""
    """How the job came to its end here; empty while something is to come."""

    @property
    def broken(self) -> Link | None:
        """The first link that does not hold."""
        return next((link for link in self.links if link.holds == "no"), None)

    @property
    def waits_at(self) -> Link | None:
        """The first link of which nothing is known yet, if none is broken and more is to come."""
        if self.ended or self.broken is not None:
            return None
        return next((link for link in self.links if link.holds == "unknown"), None)


def diagnosis_text(diagnoses: Collection[Diagnosis]) -> str:
    """Return a line a link up to the first that is open, why it is and what to do, and the rest."""
    lines: list[str] = []
    for diagnosis in diagnoses:
        lines += [*_chain_lines(diagnosis), ""]
    return escaped("\n".join(lines).rstrip(), keep=LINES) or "no vehicle takes part"


def _chain_lines(diagnosis: Diagnosis) -> Iterator[str]:
    yield diagnosis.vehicle_id
    links, broken, waits_at = diagnosis.links, diagnosis.broken, diagnosis.waits_at
    shown = len(links) if broken is None else links.index(broken) + 1
    for link in links[:shown]:
        yield f"  {_MARKS[link.holds]} {link.name:<15} {link.found}".rstrip()
    if shown < len(links):
        rest = ", ".join(f"{one.name} {_MARKS[one.holds].strip()}" for one in links[shown:])
        yield f"       then            {rest}"
    if broken is not None:
        yield f"  => it ends at: {broken.name}" + (f" ({broken.found})" * bool(broken.found))
    elif diagnosis.ended:
        yield f"  => nothing is broken: {diagnosis.ended}"
    elif waits_at is not None:
        words = f" ({waits_at.found})" * bool(waits_at.found)
        yield f"  => nothing is broken; it waits at: {waits_at.name}{words}"
    open_link = broken or waits_at
    if open_link is not None and open_link.advice:
        yield f"     to do: {open_link.advice}"
