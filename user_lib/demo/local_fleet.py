"""A cloud and agents as processes of this machine: started, killed, restarted, ended for sure."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from user_lib.contract.clock import SECOND, Clock, SystemClock
from user_lib.contract.errors import LinkError, Rejected
from user_lib.demo.local_keys import LocalKeys
from user_lib.fleet import Fleet, connect

__all__ = ["LocalFleet", "LocalVehicle", "simulated"]

START_S = 30.0
STOP_S = 5.0
POLL_S = 0.1
ANY_PORT = "tcp://127.0.0.1:*"
_CLOUD = "cloud"


@dataclass(frozen=True)
class LocalVehicle:
    """One agent to start: its profile, where its frames come from, more keys of its config."""

    vehicle_id: str
    profile: str
    sources: Sequence[Mapping[str, Any]] = ()
    """Empty: the profile's own."""
    config: Mapping[str, Any] = field(default_factory=dict)
    program: str = "agent"
    """The module that is run as its agent."""


def simulated(vehicle_id: str, model: str, *, seed: int, speed: float | str = 1.0) -> LocalVehicle:
    """Return a simulated car of a demo model; ``speed`` drives faster than real time."""
    source = {"kind": "simulated", "model": model, "seed": seed, "speed": speed}
    return LocalVehicle(vehicle_id, model, [source])


class LocalFleet:
    """Starts `oodida-cloud` and one `oodida-agent` a vehicle, in ``folder``; owns the processes.

    Each process writes ``NAME.log`` there. All of them end with `close`, and with this process
    however it ends. They know each other by keys that are made for them, unless ``insecure``.
    """

    def __init__(
        self,
        folder: Path,
        vehicles: Sequence[LocalVehicle],
        *,
        bind: str = ANY_PORT,
        cloud_config: Mapping[str, Any] | None = None,
        insecure: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.vehicles = {v.vehicle_id: v for v in vehicles}
        self.endpoint = bind
        self._cloud_config = dict(cloud_config or {})
        self._clock = clock or SystemClock()
        self.keys = None if insecure else LocalKeys(self.folder / "keys")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start the cloud, then every agent; returns once the cloud listens.

        Raises: LinkError, with the end of its log, when the cloud does not come up.
        """
        self.start_cloud()
        for vehicle_id in self.vehicles:
            self.start_agent(vehicle_id)

    def start_cloud(self) -> None:
        """Start the cloud and wait until it listens; a restart takes the same address."""
        config = self._write_config(
            _CLOUD,
            {
                "bind": self.endpoint,
                "ledger": str(self.folder / "ledger.sqlite"),
                **({"keys": dict(self.keys.for_cloud())} if self.keys else {"insecure": True}),
                **self._cloud_config,
            },
        )
        read_end, write_end = os.pipe()
        with os.fdopen(read_end, "rb") as ready:
            try:
                arguments = ["--config", str(config), "--ready-fd", str(write_end)]
                self._spawn(_CLOUD, "cloud", arguments, keep_fd=write_end)
            finally:
                os.close(write_end)
            endpoint = ready.readline().decode().strip()  # empty when the process has ended
        if not endpoint:
            raise LinkError(f"the cloud did not start:\n{self.log_tail(_CLOUD)}")
        self.endpoint = endpoint

    def start_agent(self, vehicle_id: str) -> None:
        """Start an agent; after a kill it goes on with the state that it left on disk."""
        vehicle = self.vehicles[vehicle_id]
        config: dict[str, Any] = {
            "vehicle_id": vehicle_id,
            "profile": vehicle.profile,
            "cloud": self.endpoint,
            "state_dir": f"{vehicle_id}.state",
            "sources": list(vehicle.sources),
            **self._trust(vehicle_id),
            **vehicle.config,
        }
        path = self._write_config(vehicle_id, {k: v for k, v in config.items() if v != []})
        self._spawn(vehicle_id, vehicle.program, ["--config", str(path)])

    def connect(self, user: str = "demo") -> Fleet:
        """Return an analyst's view of this fleet."""
        if self.keys is None:
            return connect(self.endpoint, user, timeout_s=START_S, insecure=True)
        return connect(self.endpoint, timeout_s=START_S, keys=self.keys.for_user(user))

    def environ(self, user: str = "demo") -> dict[str, str]:
        """Return the variables by which another program connects as ``user``."""
        if self.keys is None:
            return {"OODIDA_CLOUD": self.endpoint, "OODIDA_USER": user, "OODIDA_INSECURE": "1"}
        return {"OODIDA_CONFIG": str(self.keys.write_config(user, self.endpoint))}

    def wait_online(self, fleet: Fleet, timeout_s: float = START_S) -> None:
        """Wait until every vehicle is online and its signals are known.

        Raises: LinkError, naming who is missing, with the end of its log.
        """
        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * SECOND)
        missing = list(self.vehicles)
        while missing:
            missing = [v for v in missing if not self._is_ready(fleet, v)]
            dead = [v for v in missing if not self.is_running(v)]
            if dead or (missing and self._clock.monotonic_ns() > deadline_ns):
                name = (dead or missing)[0]
                raise LinkError(f"{name} did not come online:\n{self.log_tail(name)}")
            if missing:
                time.sleep(POLL_S)

    def is_running(self, name: str) -> bool:
        """Whether a process, ``cloud`` or a vehicle's id, is alive."""
        return name in self._processes and self._processes[name].poll() is None

    def pid(self, name: str) -> int:
        """Return the process id of ``cloud`` or of a vehicle's agent."""
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        self._processes[name].kill()
        self._processes[name].wait()

    def stop(self, name: str) -> int:
        """Ask a process to end, insist after a while, and return its exit code."""
        process = self._processes[name]
        process.terminate()
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def log_tail(self, name: str, lines: int = 15) -> str:
        """Return the end of what a process logged."""
        path = self.folder / f"{name}.log"
        text = path.read_text(errors="replace") if path.exists() else "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        """End every process; agents first, so that the cloud can still hear them."""
        alive = [name for name in self._processes if self.is_running(name)]
        agents = [name for name in alive if name != _CLOUD]
        for name in agents:
            self._processes[name].terminate()
        for name in [*agents, *(n for n in alive if n == _CLOUD)]:
            self.stop(name)

    def _trust(self, vehicle_id: str) -> dict[str, Any]:
        if self.keys is None:
            return {"insecure": True}
        return {"keys": dict(self.keys.for_vehicle(vehicle_id))}

    def _is_ready(self, fleet: Fleet, vehicle_id: str) -> bool:
        online = {v.vehicle_id for v in fleet.vehicles() if v.online}
        try:
            return vehicle_id in online and len(fleet.signals(vehicle_id)) > 0
        except Rejected:  # its catalog is on the way
            return False

    def _write_config(self, name: str, config: Mapping[str, Any]) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
        return path

    def _spawn(
        self, name: str, module: str, arguments: list[str], *, keep_fd: int | None = None
    ) -> None:
        """Start a module in a process group of its own: Ctrl-C is for us to pass on."""
        command = [sys.executable, "-m", "user_lib.demo.bound_child", str(os.getpid()), module]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - our own modules
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environ(),
                pass_fds=() if keep_fd is None else (keep_fd,),
                process_group=0,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _environ() -> dict[str, str]:
    """Return the environment with the packages of this program first, installed or not."""
    root = str(Path(__file__).resolve().parents[2])
    rest = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{rest}" if rest else root}
