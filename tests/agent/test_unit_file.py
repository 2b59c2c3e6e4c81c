"""What `oodida-agent.service` promises of failures, and what is kept to go back to after one.

The scripts are run as they are but for where they look; `tests.vm` runs them on a whole machine.
"""

import os
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "units" / "oodida-agent.service"


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


class Machine:
    """A machine on which version 1.0 runs, with no service manager but one that says nothing."""

    def __init__(self, root: Path) -> None:
        self.root, self.home, self.state = root, root / "opt", root / "state"
        self.state.mkdir()
        self.install("1.0")
        (self.home / "active").symlink_to("app")
        for command in ("systemctl", "journalctl"):
            self._put(root / "commands" / command, "#!/bin/sh\n")

    def install(self, version: str) -> None:
        """Exchange the files of a version, each as a whole, as dpkg does."""
        for name, text in (("bin/start-agent", "#!/bin/sh\n"), ("a", ""), ("VERSION", "")):
            self._put(self.home / "app" / name, f"{text}{version}\n")

    def cut_off_installing(self, version: str) -> None:
        """Lose power when some files are the new ones, and others are gone."""
        self._put(self.home / "app" / "a", f"{version}\n")
        (self.home / "app" / "VERSION").unlink()

    def run(self, script: str, *arguments: str) -> None:
        text = (SYSTEMD / script).read_text()
        text = text.replace("/opt/oodida", str(self.home))
        text = text.replace("/var/lib/oodida", str(self.state))
        path = f"{self.root / 'commands'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        subprocess.run(["/bin/sh", "-c", text, script, *arguments], check=True, env=environment)

    def held(self, name: str) -> list[str]:
        """Return of which version the files are."""
        files = [self.home / name / file for file in ("bin/start-agent", "a", "VERSION")]
        return [file.read_text().split()[-1] for file in files]

    def _put(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(0o755)
        fresh.replace(path)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_installation_that_was_cut_off_and_is_run_again_keeps_the_version_that_worked(
    machine: Machine,
) -> None:
    machine.run("deb/preinst", "upgrade", "1.0")
    machine.cut_off_installing("2.0")
    machine.run("deb/preinst", "upgrade", "1.0")
    assert machine.held("previous") == ["1.0"] * 3

    machine.run("libexec/recover")

    assert (machine.home / "active").readlink() == Path("previous")
    words = (machine.state / "rolled-back").read_text()
    assert "version half-installed did not come up healthy; 1.0 runs in its place" in words
    assert not (machine.state / "upgrade").exists()


def test_a_version_that_was_kept_is_one_that_has_proved_itself(machine: Machine) -> None:
    machine.run("deb/preinst", "upgrade", "1.0")
    machine.install("2.0")
    machine.run("deb/preinst", "upgrade", "2.0")  # before its two minutes were over
    machine.install("3.0")
    assert machine.held("previous") == ["1.0"] * 3

    (machine.state / "upgrade").unlink()  # as after two minutes
    machine.run("deb/preinst", "upgrade", "3.0")
    assert machine.held("previous") == ["3.0"] * 3


def test_a_roll_back_does_not_depend_on_the_name_of_a_version(machine: Machine) -> None:
    machine.run("deb/preinst", "upgrade", "1.0")
    (machine.home / "previous" / "VERSION").unlink()

    machine.run("libexec/recover")

    assert (machine.home / "active").readlink() == Path("previous")
    assert "the version before runs in its place" in (machine.state / "rolled-back").read_text()
