"""Who has not answered a change of code is found, in whatever order the fleet answers."""

from pathlib import Path

import pytest

from cloud.auth import Peer
from cloud.code.rollout import Rollout
from cloud.code.slots import Slots
from cloud.ledger import Ledger
from cloud.registry import Registry
from user_lib.contract.clock import SystemClock
from user_lib.contract.messages import CodeReport, Hello, PushCode

SOURCE = "def custom(xs):\n    return 1\n"
FLEET = ("a", "b", "c")


class Fleet:
    """Three vehicles online, and the slot of one analyst."""

    def __init__(self, folder: Path) -> None:
        self.registry = Registry(10**12)
        self.slots = Slots(Ledger(folder / "ledger.db"), SystemClock())
        self.rollout = Rollout(self.slots, self.registry)
        for name in FLEET:
            hello = Hello(vehicle_id=name, epoch="1", agent_version="1", dbc_hash="d" * 64)
            self.registry.claim(Peer(name.encode()), hello, 0, 0)
        self.push("t1")

    def push(self, token: str) -> None:
        pushed = self.slots.push("ada", PushCode(side="onboard", source=SOURCE, token=token), None)
        assert pushed is not None
        self.slot = pushed

    @property
    def pending(self) -> bool:
        return self.rollout.pending(self.slot)

    def report(self, name: str) -> None:
        generation, version = self.slot.generation, self.slot.version_for(name)
        told = CodeReport(analyst="ada", generation=generation, version=version, state="armed")
        assert self.slots.reported(name, told) is not None


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.mark.parametrize("order", [FLEET, FLEET[::-1], ("b", "a", "c")])
def test_a_change_is_pending_until_the_last_vehicle_has_answered(
    fleet: Fleet, order: tuple[str, ...]
) -> None:
    for name in order:
        assert fleet.pending
        fleet.report(name)

    assert not fleet.pending


def test_a_vehicle_that_was_away_and_returns_is_waited_for_again(fleet: Fleet) -> None:
    fleet.report("a")
    fleet.report("b")
    fleet.registry.drop("c")
    assert not fleet.pending

    hello = fleet.registry.vehicles["c"].hello
    fleet.registry.claim(Peer(b"again"), hello, 1, 1)

    assert fleet.pending


def test_the_next_change_is_waited_for_everywhere(fleet: Fleet) -> None:
    for name in FLEET:
        fleet.report(name)
    assert not fleet.pending

    fleet.push("t2")

    for name in FLEET:
        assert fleet.pending
        fleet.report(name)
    assert not fleet.pending
