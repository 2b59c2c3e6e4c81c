"""The wall clock and whether it is trusted."""

import pytest

from agent.wall import TrustClock, Wall, synchronised
from user_lib.contract.clock import SystemClock


@pytest.mark.parametrize(("stated", "trusted"), [("always", True), ("never", False)])
def test_what_the_owner_says_holds(stated: TrustClock, trusted: bool) -> None:
    wall = Wall(stated, SystemClock())

    assert wall.trusted is trusted
    assert (wall.now_ns is not None) is trusted


def test_otherwise_the_kernel_is_asked() -> None:
    assert Wall("auto", SystemClock()).trusted is synchronised()
