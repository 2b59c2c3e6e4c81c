"""A throwaway guest machine with a real vcan0, where the laboratory for it is at hand."""

import compileall
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest
from packaging.requirements import Requirement

from tests.vm.lab import ROOT, VMLAB
from tests.vm.packages import build, repacked

GUEST = Path(__file__).with_name("guest")
PRODUCT = ("agent", "cloud", "dbc", "hw", "user_lib")
GUEST_PYTHON = (3, 11)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _needed(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """Collect a distribution and all that it needs when installed without extras."""
    if name.lower() not in found:
        one = found[name.lower()] = distribution(name)
        for line in one.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                _needed(requirement.name, found)
    return found


def _copy_packages(target: Path) -> None:
    """Copy what the product needs out of this environment: its wheels fit the guest's Python."""
    for name, one in _needed("oodida", {}).items():
        for file in one.files or () if name != "oodida" else ():
            source = Path(str(one.locate_file(file)))
            if ".." in file.parts or "__pycache__" in file.parts or not source.is_file():
                continue
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / file)


@pytest.fixture(scope="session")
def guest_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the product, its packages and the scripts of this folder, for a guest."""
    if not VMLAB.is_file():
        pytest.skip(f"no guest machines here: there is no {VMLAB}")
    if sys.version_info[:2] != GUEST_PYTHON:
        pytest.skip("the guest has Python 3.11; so must this environment, to lend it its packages")
    job = tmp_path_factory.mktemp("guest")
    for package in PRODUCT:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, job / package, ignore=ignored)
    shutil.copytree(ROOT / "tests/sandbox/hostile", job / "tests/sandbox/hostile")
    shutil.copytree(ROOT / "systemd/units", job / "units")
    for script in Path(__file__).parent.glob("*_guest.py"):
        shutil.copy(script, job)
    _copy_packages(job / "packages")
    # An emulated guest takes minutes to compile what it imports.
    compileall.compile_dir(job, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    return job


@pytest.fixture(scope="session")
def run_in_guest(guest_job: Path) -> Run:
    """Run a script of this folder as root in a fresh guest; its standard output comes back."""

    def run(script: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        command = [
            VMLAB,
            "run",
            "--copy-in",
            f"{guest_job}:/job",
            "--timeout",
            str(timeout_s),
            "--",
        ]
        inner = f"cd /job && PYTHONPATH=/job:/job/packages python3 {script}"
        return subprocess.run(
            [*map(str, command), inner], capture_output=True, text=True, timeout=timeout_s + 300
        )

    return run


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package of this tree."""
    if not VMLAB.is_file():
        pytest.skip(f"no guest machines here: there is no {VMLAB}")
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb here to build a package with")
    folder = tmp_path_factory.mktemp("package")
    built = build(folder)
    if built.returncode and "No matching distribution" in built.stderr:
        pytest.skip("the package's wheels cannot be fetched here")
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.deb")
    return found


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what runs in a guest, and nothing else."""
    job = tmp_path_factory.mktemp("scripts")
    shutil.copytree(GUEST, job, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return job


@pytest.fixture(scope="session")
def job(package: Path, scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts, the package, a newer one, and one whose agent does not start."""
    folder = tmp_path_factory.mktemp("job")
    shutil.copytree(scripts, folder, dirs_exist_ok=True)
    shutil.copy(package, folder / "good.deb")
    work = tmp_path_factory.mktemp("versions")
    repacked(package, "9.9.0", work / "newer.deb")
    repacked(package, "9.9.9", work / "broken.deb", start="#!/bin/sh\nexit 1\n")
    for file in work.glob("*.deb"):
        file.rename(folder / file.name)
    return folder
