"""What the numbers in results are called."""

from typing import Any

import pytest

from user_lib.contract.errors import UnknownSignal
from user_lib.contract.messages import Answer, Ask, ListSignals, SignalInfo, Signals

GEAR = SignalInfo(name="Transmission.Gear", choices={-1: "Reverse", 0: "Neutral", 1: "First"})


@pytest.fixture
def listing(cloud: Any, played: Any) -> None:
    def script(ask: Ask) -> Answer | None:
        if isinstance(ask, ListSignals):
            return Signals(vehicle_id="compact-1", signals=(GEAR, SignalInfo(name="Vehicle.Speed")))
        return played(ask)

    cloud.script = script


@pytest.mark.usefixtures("listing")
def test_value_names_are_those_of_the_vehicle(fleet: Any) -> None:
    assert fleet.value_names("compact-1", "Transmission.Gear") == GEAR.choices
    assert fleet.value_names("compact-1", "Vehicle.Speed") == {}


@pytest.mark.usefixtures("listing")
def test_an_unknown_signal_is_answered_with_the_nearest(fleet: Any) -> None:
    with pytest.raises(UnknownSignal) as caught:
        fleet.value_names("compact-1", "Transmission.Geer")

    assert caught.value.near == ("Transmission.Gear",)
