"""What a vehicle loads: memory and start-up time are its budget."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def loaded() -> frozenset[str]:
    """Names of all modules that a fresh agent has loaded before it is configured."""
    program = "import agent.__main__, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return frozenset(done.stdout.split())


@pytest.mark.parametrize("name", ["agent.app", "hw.socketcan.source", "numpy", "zmq"])
def test_the_agent_is_loaded(loaded: frozenset[str], name: str) -> None:
    assert name in loaded


@pytest.mark.parametrize(
    "name",
    [
        "asammdf",
        "asyncio",
        "can",
        "cantools",
        "email",
        "hw.interface",
        "hw.logs",
        "hw.simulated",
        "pandas",
        "prometheus_client",
        "pyarrow",
        "rich",
        "ssl",
    ],
)
def test_what_only_some_vehicles_need_is_not_loaded(loaded: frozenset[str], name: str) -> None:
    assert name not in loaded
