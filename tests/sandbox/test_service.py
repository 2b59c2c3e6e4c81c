"""A zygote that a service starts for whoever connects; as root here, the agent as somebody else."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.sandbox import Job, Sandbox, SandboxConfig, SandboxUnavailable, window_of

ROOT = Path(__file__).resolve().parents[2]
AGENT_USER = 64_101
PATIENCE_S = 20.0
WINDOW = window_of(np.arange(4.0))
AGENT = """
import json, os, sys, sysconfig
sys.path.insert(0, {root!r})
import numpy as np
from agent.sandbox import Job, Limits, Sandbox, SandboxConfig, window_of

def run(source, wall_s=20.0):
    limits = Limits(cpu_s=20, memory_mb=128, wall_s=wall_s)
    window = window_of(np.arange(4.0))
    done = sandbox.run(
        Job(half="onboard", method="custom", source=source, window=window, limits=limits)
    )
    print(json.dumps([done.status, done.reason, done.value]), flush=True)

sysconfig.get_paths()  # the interpreter may be one that only root can read
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid({user}, {user}, {user})
    os.setresuid({user}, {user}, {user})
with Sandbox(SandboxConfig(socket={socket!r}, level={level!r})) as sandbox:
    run("def custom(xs): return float(xs.sum())")
    run("import time\\ndef custom(xs): time.sleep(60)", wall_s=0.5)
"""


class Service:
    """Starts a zygote for each connection, as the service manager does on a vehicle."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.zygotes: list[subprocess.Popen[bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(self.path)
        self._listener.listen()
        path.chmod(0o666)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.zygotes.append(
                    subprocess.Popen(
                        [sys.executable, "-B", "-m", "agent.sandbox"],
                        stdin=connection,
                        cwd=ROOT,
                        env={"OPENBLAS_NUM_THREADS": "1"},
                    )
                )

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for zygote in self.zygotes:
            zygote.wait(10)


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    for part in (folder, *folder.parents):
        if part.stat().st_uid == os.geteuid() and part != Path("/"):
            part.chmod(part.stat().st_mode | 0o011)
    made = Service(folder / "sandbox.sock")
    yield made
    made.close()


@pytest.mark.parametrize("level", ["full", "limits"])
def test_an_agent_of_another_user_runs_and_kills_workers(service: Service, level: str) -> None:
    script = AGENT.format(root=str(ROOT), socket=service.path, level=level, user=AGENT_USER)

    done = subprocess.run(
        [sys.executable, "-B", "-c", script], capture_output=True, text=True, cwd="/", env={}
    )

    assert done.returncode == 0, done.stderr
    summed, slept = map(json.loads, done.stdout.splitlines())
    assert summed == ["ok", "", 6.0]
    assert slept[:2] == ["killed", "wall"]
    assert [zygote.wait(10) for zygote in service.zygotes] == [0]


def test_a_zygote_that_dies_is_asked_for_again(service: Service) -> None:
    with Sandbox(SandboxConfig(socket=service.path, level="limits")) as sandbox:
        count = Job(half="onboard", method="count", window=WINDOW)
        assert sandbox.run(count).status == "ok"
        service.zygotes[0].kill()
        service.zygotes[0].wait()

        deadline = time.monotonic() + PATIENCE_S
        # Until its end is noticed, jobs may still be given to workers that end with it.
        while (outcome := sandbox.run(count)).status != "ok" or not sandbox.restarts:
            assert time.monotonic() < deadline, outcome
        assert sandbox.restarts == 1


def test_a_stopped_zygote_ends_with_its_connection(service: Service) -> None:
    with Sandbox(SandboxConfig(socket=service.path, level="limits")) as sandbox:
        sandbox.start()
        (keeper,) = service.zygotes
        children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text()
        os.kill(int(children), signal.SIGSTOP)

    assert keeper.wait(10) == 0


def test_without_a_listener_the_socket_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "nobody.sock")

    with (
        Sandbox(SandboxConfig(socket=path)) as sandbox,
        pytest.raises(SandboxUnavailable, match=r"nobody\.sock"),
    ):
        sandbox.start()
