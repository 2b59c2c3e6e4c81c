"""The Debian package on a machine with systemd and vcan, in one boot of a guest."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VMLAB = ROOT.parent / "shared" / "vm" / "vmlab"
GUEST = Path(__file__).with_name("on_board_guest.py")
TIMEOUT_S = 900


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package that works and a newer one whose agent does not start."""
    if not VMLAB.is_file():
        pytest.skip(f"no guest machines here: there is no {VMLAB}")
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb here to build a package with")
    folder = tmp_path_factory.mktemp("packages")
    built = subprocess.run(
        [ROOT / "systemd" / "build-deb", "--out", folder], capture_output=True, text=True
    )
    if built.returncode and "No matching distribution" in built.stderr:
        pytest.skip("the package's wheels cannot be fetched here")
    assert built.returncode == 0, built.stderr
    (package,) = folder.glob("*.deb")
    job = folder / "job"
    job.mkdir()
    package.rename(job / "good.deb")
    tree = folder / "bad"
    subprocess.run(["dpkg-deb", "-R", job / "good.deb", tree], check=True)
    (tree / "opt/oodida/app/VERSION").write_text("9.9.9\n")
    (tree / "opt/oodida/app/bin/start-agent").write_text("#!/bin/sh\nexit 1\n")
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines()
    control.write_text(
        "\n".join("Version: 9.9.9" if x[:8] == "Version:" else x for x in lines) + "\n"
    )
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, job / "bad.deb"], check=True
    )
    shutil.copy(GUEST, job)
    return job


@pytest.mark.vm
@pytest.mark.vcan
@pytest.mark.timeout(TIMEOUT_S + 300)
def test_the_package_serves_survives_and_rolls_back(packages: Path) -> None:
    done = subprocess.run(
        [
            VMLAB, "run", "--copy-in", f"{packages}:/job", "--timeout", str(TIMEOUT_S), "--",
            "python3 /job/on_board_guest.py",
        ],
        capture_output=True, text=True, timeout=TIMEOUT_S + 200,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["sandbox"] == "full"
    assert report["verify"] == ""
    assert report["scores"]["oodida-agent.service"] <= 1.8
    assert report["scores"]["oodida-cloud.service"] <= 1.8
    assert "did not come up healthy" in report["rolled_back"]
    assert report["configuration"].startswith("vehicle_id: car-1")  # kept through the upgrade
