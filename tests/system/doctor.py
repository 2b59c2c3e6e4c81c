"""`oodida doctor`, asked as an analyst asks it."""

import json
import time
from collections.abc import Callable

import pytest

from user_lib.cli import main
from user_lib.doctor.diagnosis import Link

__all__ = ["Doctor", "eventually"]

Links = dict[str, Link]
PATIENCE_S = 90


def eventually(holds: Callable[[], object]) -> None:
    """Ask until it holds; news takes some seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Doctor:
    """Asks the command in this process; its environment says which fleet."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self.status = -1
        """With what the command ended the last time."""

    def links(self, what: str) -> Links:
        """Return the links of the one vehicle by name."""
        (told,) = json.loads(self._said("doctor", what, "--json"))
        return {link["name"]: Link(**link) for link in told["links"]}

    def text(self, what: str) -> str:
        return self._said("doctor", what)

    def until(self, what: str, broken: str) -> Links:
        """Ask until the chain ends at that link (none: until it holds); news takes some seconds."""
        deadline = time.monotonic() + PATIENCE_S
        while self.broken(links := self.links(what)) != broken:
            assert time.monotonic() < deadline, links
            time.sleep(0.2)
        return links

    @staticmethod
    def broken(links: Links) -> str:
        """Return the name of the first link that does not hold; empty when all do."""
        return next((name for name, link in links.items() if link.holds == "no"), "")

    def _said(self, *words: str) -> str:
        self._capfd.readouterr()
        self.status = main(words)
        said = self._capfd.readouterr()
        assert said.out, said.err
        return said.out
