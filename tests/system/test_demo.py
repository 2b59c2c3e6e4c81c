"""`oodida demo`, as a newcomer runs it."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

COMMAND = [sys.executable, "-m", "user_lib.cli", "demo"]


def processes_of(folder: str) -> list[str]:
    """Return the command lines of processes that work in a demo's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it ended meanwhile
            if folder in line:
                found.append(line)
    return found


def test_the_demo_shows_results_and_the_swap_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, "--json"], capture_output=True, text=True, env=environ, timeout=150
    )

    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["unseen"] == []
    assert shown["vehicles"] == ["compact-1", "compact-2", "wagon-1", "wagon-2"]
    assert [job["label"] for job in shown["jobs"]] == ["mean", "monitor", "custom"]
    custom = shown["jobs"][-1]
    assert custom["by_version"][shown["first_version"]] > 0
    assert custom["by_version"][shown["second_version"]] > 0
    assert shown["swap"]["vehicles"] == 4
    assert shown["swap"]["armed_p99_ms"] >= shown["swap"]["armed_p50_ms"] > 0
    assert "8 times real speed: their time stamps run ahead of the clock" in done.stderr
    assert "analyst ▶ vehicles  mean (mean)" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert processes_of(str(tmp_path)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_demo_leaves_no_process_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        COMMAND,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "▶ cloud" in line:
                break
        assert len(processes_of(str(tmp_path))) >= 5
        process.send_signal(number)
        rest = process.stdout.read()
        process.wait(60)

    assert "Traceback" not in rest
    if number is not signal.SIGKILL:
        assert process.returncode == 130
        assert "every process of the demo has ended" in rest
        assert list(tmp_path.iterdir()) == []
    wait_until_gone(str(tmp_path))


def test_on_a_terminal_a_live_board_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (45, 120))
    environ = {**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm-256color"}
    with subprocess.Popen(
        COMMAND, stdin=theirs, stdout=theirs, stderr=theirs, env=environ
    ) as process:
        os.close(theirs)
        drawn = ""
        while "round 1 complete 4/4" not in drawn:
            drawn += os.read(ours, 65536).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the end of a terminal nobody writes to any more
            while os.read(ours, 65536):
                pass
        process.wait(60)
    os.close(ours)

    for title in ("vehicles", "jobs", "wagon-2", "monitor"):
        assert title in drawn
    assert process.returncode == 130


def wait_until_gone(folder: str) -> None:
    """Fail unless every process of the demo ends within seconds."""
    for _ in range(100):
        if not processes_of(folder):
            return
        signal.sigtimedwait([], 0.1)
    assert processes_of(folder) == []


def test_a_kept_fleet_can_be_asked_by_others(tmp_path: Path) -> None:
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*COMMAND, "--keep"], stdout=subprocess.PIPE, env=environ, text=True
    ) as process:
        assert process.stdout is not None
        config = ""
        for line in process.stdout:
            if "export OODIDA_CONFIG=" in line:
                config = line.strip().removeprefix("export OODIDA_CONFIG=")
            if "runs until Ctrl-C" in line:
                break
        asked = subprocess.run(
            [sys.executable, "-m", "user_lib.cli", "vehicles", "--json"],
            env={**os.environ, "OODIDA_CONFIG": config},
            capture_output=True,
            text=True,
            timeout=30,
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0

    assert [v["vehicle_id"] for v in json.loads(asked.stdout) if v["online"]] == [
        "compact-1",
        "compact-2",
        "wagon-1",
        "wagon-2",
    ]
    assert processes_of(str(tmp_path)) == []
