"""A disk that turned read-only is named at the start, and what is on it stays as it is."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MOUNTS = ["unshare", "--mount", "sh", "-c"]
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" "$0" && exec "$@"'


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*MOUNTS, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not _may_mount(), reason="needs the right to mount")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return how a part of the platform ends on its disk, read-only or not, within seconds."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def run(
        module: str, config: dict[str, object], *, read_only: bool
    ) -> subprocess.CompletedProcess[str]:
        path = tmp_path / f"{module}.yaml"
        path.write_text(yaml.safe_dump({**config, "insecure": True}))
        command = ["timeout", "-s", "TERM", "8", sys.executable, "-m", module]
        command += ["--config", str(path)]
        if read_only:
            command = [*MOUNTS, READ_ONLY, str(disk), *command]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.mark.parametrize(
    ("module", "config"),
    [
        (
            "agent",
            {
                "vehicle_id": "car",
                "profile": "compact",
                "cloud": "tcp://127.0.0.1:9",
                "state_dir": "disk",
                "sources": [{"kind": "simulated", "model": "compact", "seed": 1}],
            },
        ),
        ("cloud", {"bind": "tcp://127.0.0.1:*", "ledger": "disk/cloud.db"}),
    ],
)
def test_a_read_only_disk_is_named_and_nothing_on_it_changes(
    tmp_path: Path,
    run: Callable[..., subprocess.CompletedProcess[str]],
    module: str,
    config: dict[str, object],
) -> None:
    if "ledger" in config:
        config = {**config, "ledger": str(tmp_path / "disk" / "cloud.db")}
    run(module, config, read_only=False)
    before = {p.name: p.read_bytes() for p in (tmp_path / "disk").iterdir() if p.is_file()}
    assert any(name.endswith(".db") for name in before)

    ended = run(module, config, read_only=True)

    assert ended.returncode == 2, ended.stderr
    assert "Read-only file system" in ended.stderr
    assert "Traceback" not in ended.stderr
    after = {p.name: p.read_bytes() for p in (tmp_path / "disk").iterdir() if p.is_file()}
    assert after == before
