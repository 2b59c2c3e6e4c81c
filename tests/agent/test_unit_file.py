"""What `oodida-agent.service` promises of failures, reckoned from its own limits."""

from pathlib import Path

UNIT = Path(__file__).parents[2] / "systemd" / "units" / "oodida-agent.service"


def limits() -> dict[str, float]:
    """Return the keys of the unit that are plain numbers."""
    pairs = (line.partition("=") for line in UNIT.read_text().splitlines() if "=" in line)
    return {key: float(value) for key, _, value in pairs if value.replace(".", "").isdigit()}


def test_an_agent_that_hangs_at_every_start_uses_its_tries_up() -> None:
    """Else nothing ever fails for good, and a version that hangs is never rolled back."""
    unit = limits()
    longest_try_s = unit["TimeoutStartSec"] + unit["TimeoutStopSec"] + unit["RestartSec"]

    assert unit["StartLimitBurst"] * longest_try_s < unit["StartLimitIntervalSec"]


def test_an_agent_whose_pump_hangs_after_each_start_uses_its_tries_up_too() -> None:
    unit = limits()
    told_s = unit["WatchdogSec"] / 2  # see agent.supervision
    longest_try_s = unit["TimeoutStartSec"] + told_s + unit["WatchdogSec"] + unit["TimeoutStopSec"]

    tries_s = unit["StartLimitBurst"] * (longest_try_s + unit["RestartSec"])
    assert tries_s < unit["StartLimitIntervalSec"]


def test_what_another_start_may_heal_is_tried_again() -> None:
    """Exit code 3, a sandbox that did not come up in time, is no mistake in the configuration."""
    assert limits()["RestartPreventExitStatus"] == 2
