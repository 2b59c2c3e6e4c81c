"""The commands in the README that put an agent on vcan0, run in a guest as they stand there."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.vm.lab import boot

pytestmark = [pytest.mark.vm, pytest.mark.vcan, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
ASK = """
import socket, sys, time
deadline = time.monotonic() + 120
while time.monotonic() < deadline:
    time.sleep(0.5)
    asking = socket.socket(socket.AF_UNIX)
    try:
        asking.connect("/run/agent.sock")
    except OSError:
        continue
    asking.sendall(b"GET /metrics HTTP/1.0\\r\\n\\r\\n")
    text = b"".join(iter(lambda: asking.recv(65536), b"")).decode()
    counts = [x.split()[1] for x in text.splitlines() if x.startswith("oodida_agent_frames_total ")]
    if counts and float(counts[0]) > 100:
        print("FRAMES", counts[0])
        sys.exit(0)
sys.exit("no frames came in")
"""


def commands() -> list[str]:
    """Return the commands below the README's heading."""
    text = (ROOT / "README.md").read_text()
    _, _, section = text.partition("### An agent on `vcan0`")
    block = section.split("```")[1]
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def test_four_commands_put_an_agent_on_vcan0(package: Path, tmp_path: Path) -> None:
    install, bring_up, replay, agent = commands()
    assert "pip install ." in install  # which the package has done for a machine without a network
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    shutil.copytree(ROOT / "systemd", tmp_path / "systemd")
    (tmp_path / "bin").mkdir()
    sudo = tmp_path / "bin" / "sudo"
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    (tmp_path / "ask.py").write_text(ASK)
    (tmp_path / "loop.sh").write_text(
        "set -e\nexport PATH=/job/bin:/job/opt/oodida/app/bin:$PATH\n"
        f"{bring_up}\n{replay}\n{agent} --metrics-socket /run/agent.sock &\npython3 ask.py\n"
    )

    done = boot(tmp_path, "sh loop.sh", "--guest", "uml", timeout_s=300)

    assert done.code == 0, str(done)
    assert done.said("FRAMES")
