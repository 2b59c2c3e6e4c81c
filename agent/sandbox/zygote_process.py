"""A zygote as its owner holds it: started, set up, asked for workers, ended."""

import os
import socket
from contextlib import ExitStack

import msgspec

from agent.sandbox import control, launch
from agent.sandbox.config import SandboxConfig
from agent.sandbox.control import Hello, Setup
from agent.sandbox.lockdown.confinement import Confinement
from agent.sandbox.watch import Terms, Watch

__all__ = ["SandboxUnavailable", "ZygoteProcess"]

READY_TIMEOUT_S = 60.0


class SandboxUnavailable(Exception):
    """The zygote does not come up; nothing can run."""


class ZygoteProcess:
    """The zygote's process and the agent's end of its control socket."""

    def __init__(self, config: SandboxConfig, confinement: Confinement) -> None:
        self._where = config.socket or config.python
        try:
            self._launched = (
                launch.connect(config.socket) if config.socket else launch.execute(config.python)
            )
        except OSError as error:
            raise SandboxUnavailable(
                f"the sandbox's zygote ({self._where}) cannot be started: {error}"
            ) from None
        self._control = self._launched.control
        try:
            self.problem = self._greet(config, confinement)
        except BaseException:
            self.end()
            raise

    def order(self, terms: Terms, *, spare: bool = False) -> Watch:
        """Order a worker, to be made at once or, as a spare, when there is time.

        Raises: OSError, when the zygote is gone or descriptors are.
        """
        with ExitStack() as given, ExitStack() as kept:
            ends: list[int] = []
            pipes: list[int] = []
            for _ in range(2):
                read_end, write_end = os.pipe2(os.O_CLOEXEC)
                kept.callback(os.close, read_end)
                given.callback(os.close, write_end)
                ends.append(read_end)
                pipes.append(write_end)
            status, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            kept.callback(status.close)
            given.callback(told.close)
            word = control.EXTERNAL_WORKER if terms.external else control.PYTHON_WORKER
            word = control.SPARE_WORKER if spare else word
            socket.send_fds(self._control, [word], [*pipes, told.fileno()])
            watch = Watch(terms, status, *ends)
            kept.pop_all()
            return watch

    def end(self) -> None:
        """Close the control socket, which ends it; kill it if it does not."""
        self._launched.end()

    def kill(self) -> None:
        """End it whatever it does, and its workers with it."""
        self._launched.kill()

    @property
    def pid(self) -> int | None:
        """The process id, where it is a child of ours."""
        return self._launched.pid

    def _greet(self, config: SandboxConfig, confinement: Confinement) -> str:
        """Set the zygote up; return what keeps it from its level, empty when nothing does."""
        self._control.settimeout(READY_TIMEOUT_S)
        try:
            setup = Setup(confinement, config.scratch_mb)
            self._control.send(control.encode(setup))
            datagram, _ = control.receive(self._control)
            hello = control.decode(datagram)
        except (OSError, msgspec.DecodeError) as error:
            raise SandboxUnavailable(
                f"the sandbox's zygote ({self._where}) did not come up ({error}); "
                "its own words are in the log"
            ) from None
        self._control.settimeout(None)
        if not isinstance(hello, Hello) or hello.threads != 1:
            raise SandboxUnavailable(f"the zygote is not fit to fork: {hello}")
        self.bounded, self.unbounded = hello.bounded, hello.unbounded
        return hello.problem
