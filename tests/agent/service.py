"""The agent as a process under a service manager, which the test is."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

__all__ = ["PATIENCE_S", "Manager", "Service"]

ROOT = Path(__file__).parents[2]
FILES = ROOT / "dbc" / "files"
PATIENCE_S = 60


class Manager:
    """What a service manager is to the agent: a socket that is told things."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(PATIENCE_S)
        self.told: list[str] = []

    def until(self, words: str) -> None:
        """Wait until something is told."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(words in line for line in self.told):
            assert time.monotonic() < deadline, f"{words} was not told, but {self.told}"
            self.told += self._socket.recv(4096).decode().splitlines()

    def take(self) -> None:
        """Take what was told so far, without waiting."""
        self._socket.setblocking(False)
        try:
            while True:
                self.told += self._socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            self._socket.settimeout(PATIENCE_S)

    def forget(self) -> None:
        """Forget what was told so far, and what waits."""
        self.take()
        self.told.clear()

    def silent_for(self, seconds: float) -> bool:
        """Whether nothing is told for so long."""
        return not select.select([self._socket], [], [], seconds)[0]

    def close(self) -> None:
        self._socket.close()


class Service:
    """An agent under a manager."""

    def __init__(self, folder: Path, endpoint: str, watchdog_s: float, **changes: Any) -> None:
        self.folder, self.manager = folder, Manager(folder / "notify.sock")
        self.metrics_socket = str(folder / "metrics.sock")
        self.config = {
            "vehicle_id": "car-1",
            "profile": "own",
            "cloud": endpoint,
            "insecure": True,
            "state_dir": "state",
            "sources": [{"kind": "simulated", "model": "compact", "seed": 3, "speed": 10}],
            "tick_ms": 20,
            "metrics_socket": self.metrics_socket,
            **changes,
        }
        self.write_profile("compact_powertrain.dbc", "compact_body.dbc")
        self.write_config()
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": self.manager.path,
            "WATCHDOG_USEC": str(int(watchdog_s * 1e6)),
            "PYTHONPATH": f"{ROOT}:{folder}",
        }
        self._log = (folder / "agent.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent", "--config", str(folder / "agent.yaml")],
            cwd=ROOT, stderr=self._log, env=environment,
        )  # fmt: skip

    def write_config(self, **changes: Any) -> None:
        path = self.folder / "agent.yaml"
        path.write_text(yaml.safe_dump({**self.config, **changes}))

    def write_profile(self, *databases: str) -> None:
        """Write a profile that knows the buses of the databases given."""
        channels = {
            f"can{i}": {"databases": [str(FILES / name)]} for i, name in enumerate(databases)
        }
        profile = {
            "model": "compact",
            "channels": channels,
            "mapping": str(FILES / "compact.vspec"),
        }
        (self.folder / "own.yaml").write_text(yaml.safe_dump(profile))

    def reload(self) -> None:
        self.manager.forget()
        self.process.send_signal(signal.SIGHUP)
        self.manager.until("RELOADING=1")
        self.manager.until("READY=1")

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text(errors="replace")

    def metrics(self) -> dict[str, float]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect(self.metrics_socket)
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            answer = b""
            while part := client.recv(1 << 16):
                answer += part
        lines = answer.partition(b"\r\n\r\n")[2].decode().splitlines()
        split = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in split}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()
        self.manager.close()
        sys.stderr.write(self.log)  # shown when the test fails
