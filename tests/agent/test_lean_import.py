"""What a vehicle loads: memory and start-up time are its budget."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.budgets import SIGNALS, fed, on_a_busy_bus
from tests.benchmarks.loopback import free_interface, port_of
from user_lib.demo.local_fleet import LocalFleet

SELDOM = [
    "_hashlib",  # the system's OpenSSL beside the one that signs: 3.5 MB
    "asammdf",
    "asyncio",
    "bz2",
    "can",
    "cantools",
    "dbc.parsing",
    "difflib",
    "email",
    "hashlib",
    "hmac",
    "hw.interface",
    "hw.logs",
    "lzma",
    "numpy.random",
    "pandas",
    "prometheus_client",
    "pyarrow",
    "rich",
    "secrets",
    "shutil",
    "ssl",
    "sysconfig",
    "tempfile",
]
"""What no vehicle needs to run, or some vehicles only, or no vehicle for long."""


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


@pytest.mark.parametrize("name", [*SELDOM, "hw.simulated", "subprocess"])
def test_what_only_some_vehicles_need_is_not_loaded(loaded: frozenset[str], name: str) -> None:
    assert name not in loaded


def test_a_vehicle_that_has_computed_and_signed_a_result_has_loaded_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interface = free_interface()
    vehicle = on_a_busy_bus(tmp_path, interface)
    local = LocalFleet(tmp_path, [vehicle])
    with local, fed(port_of(interface), tmp_path / "bus.dbc"):
        local.start()
        with local.connect() as fleet:
            local.wait_online(fleet)
            local.stop(vehicle.vehicle_id)  # its databases are cached from here on
            monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # its log then has every import
            local.start_agent(vehicle.vehicle_id)
            job = fleet.assign(signals=SIGNALS, onboard="mean", window={"samples": 10})
            (result,) = job.stream()
        log = (tmp_path / f"{vehicle.vehicle_id}.log").read_text()

    assert not result.error
    imports = {line.split()[-1] for line in log.splitlines() if line.startswith("import time:")}
    assert {"agent.app", "hw.socketcan"} <= imports
    assert imports.isdisjoint(SELDOM), sorted(imports.intersection(SELDOM))
