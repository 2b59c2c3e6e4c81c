"""By what names the owner's rules know a signal."""

from collections.abc import Iterator

import pytest

from agent.gathering import Gathering, aliases_of
from agent.policy import Analyst, Held, Policy, admit
from agent.signals import SignalHub, load_profile
from agent.signals.names import Derivation, SignalNames
from hw import SimulatedConfig, open_source
from user_lib.contract.validation import parse


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
        ("EngineData.EngineSpeed", "can0:EngineData.*"),
        ("@message.EngineData.gap_ms", "Vehicle.Powertrain.CombustionEngine.Speed"),
        ("@message.EngineData.count", "EngineData.EngineSpeed"),
    ],
)
def test_no_other_name_is_a_way_around_a_rule(
    gathering: Gathering, asked: str, pattern: str
) -> None:
    spec = parse({"signals": [asked], "onboard": "mean", "window": {"samples": 10}})
    gathering.check(spec)

    policy = Policy(forbidden_signals=(pattern,))
    refusal = admit(policy, Analyst("ada"), spec, gathering.aliases, Held())

    assert refusal is not None
    assert refusal.reason == "signal_forbidden"


def test_a_name_that_a_derived_signal_took_is_no_name_of_the_signal_that_had_it() -> None:
    catalog = load_profile("compact").load_catalog().bind(["can0", "can1"])
    taken = next(info for info in catalog.signals() if not info.vss)
    names = SignalNames(catalog, {taken.name: Derivation("Vehicle.Speed * 2")})
    raw = f"{taken.channel}:{taken.name}"

    aliases = aliases_of(names)

    assert aliases(raw) == ({raw},)
    assert all("Vehicle.Speed" in names_of_part for names_of_part in aliases(taken.name))
