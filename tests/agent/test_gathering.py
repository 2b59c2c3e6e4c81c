"""By what names the owner's rules know a signal."""

from collections.abc import Iterator

import pytest

from agent.gathering import Gathering
from agent.policy import Policy, admit
from agent.signals import SignalHub, load_profile
from hw import SimulatedConfig, open_source
from user_lib.contract.assignment import parse


@pytest.fixture
def gathering() -> Iterator[Gathering]:
    source = open_source(SimulatedConfig(model="compact", speed="max", duration_s=1))
    hub = SignalHub(load_profile("compact"), [source], history_mb=4.0)
    yield Gathering(hub)
    hub.close()


@pytest.mark.parametrize(
    ("asked", "pattern"),
    [
        ("can0:@message.EngineData.gap_ms", "@message.EngineData.*"),
        ("@message.EngineData.gap_ms", "can0:@message.*"),
        ("can0:@bus.can0.load", "@bus.*"),
        ("@bus.can0.load", "@bus.can0.load"),
        ("EngineData.EngineSpeed", "Vehicle.Powertrain.CombustionEngine.Speed"),
    ],
)
def test_no_other_name_is_a_way_around_a_rule(
    gathering: Gathering, asked: str, pattern: str
) -> None:
    spec = parse({"signals": [asked], "onboard": "mean", "window": {"samples": 10}})
    gathering.check(spec)

    refusal = admit(
        Policy(forbidden_signals=(pattern,)), spec, [gathering.aliases(asked)], tasks_held=0
    )

    assert refusal is not None
    assert refusal.reason == "signal_forbidden"
