"""Where a zygote comes from: a child of this process, or a service that the machine keeps for it.

On a vehicle the service manager listens at a socket and starts a zygote for whoever connects, as a
user of its own, within bounds of its own (``systemd/units/oodida-sandbox@.service``). The
connection is the control socket; when it closes, the zygote ends. Elsewhere the zygote is a child.
"""

import socket
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import subprocess  # a vehicle that has the service starts none, and loads nothing for it

__all__ = ["Launched", "connect", "execute"]

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}
PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); from agent.sandbox import zygote; zygote.main({fd})"
)
END_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 10.0


class Launched(Protocol):
    """A zygote and our end of its control socket."""

    @property
    def control(self) -> socket.socket:
        """The control socket."""
        ...

    @property
    def pid(self) -> int | None:
        """The process id, where it is a child of ours."""
        ...

    def end(self) -> None:
        """Close the control socket, which ends it; kill it if it does not."""
        ...

    def kill(self) -> None:
        """End it whatever it does, and its workers with it."""
        ...


class _Child:
    """A zygote that this process executed: an interpreter of its own, an empty environment."""

    def __init__(self, control: socket.socket, process: "subprocess.Popen[bytes]") -> None:
        self.control, self._process = control, process

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> None:
        import subprocess

        self.control.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.control.close()
        self._process.kill()
        self._process.wait()


class _Service:
    """A zygote that the service manager started for this connection, as another user."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.pid = None
        """Not known: the connection's credentials are those of the service manager."""

    def end(self) -> None:
        self.control.close()

    def kill(self) -> None:
        self.control.close()


def execute(python: str) -> Launched:
    """Execute a zygote as a child of this process. Raises: OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made: Future[subprocess.Popen[bytes]] = Future()
    with theirs:
        arguments = (python, theirs.fileno(), made)
        threading.Thread(target=_parent, args=arguments, name="sandbox-parent", daemon=True).start()
        try:
            return _Child(ours, made.result())
        except OSError:
            ours.close()
            raise


def _parent(python: str, control_fd: int, made: "Future[subprocess.Popen[bytes]]") -> None:
    """Start a zygote and wait for its end: who is killed with its parent dies with this thread.

    The kernel takes the thread that forks for the parent, and the one that wants a zygote may end
    long before this process does.
    """
    import subprocess

    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [python, "-I", "-B", "-c", PROGRAM.format(root=str(ROOT), fd=control_fd)],
            stdin=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            pass_fds=[control_fd],
            start_new_session=True,
        )
    except OSError as error:
        made.set_exception(error)
        return
    made.set_result(process)
    process.wait()


def connect(address: str) -> Launched:
    """Connect to the service that starts a zygote for this connection. Raises: OSError."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        control.settimeout(CONNECT_TIMEOUT_S)
        control.connect(address)
        control.settimeout(None)
        return _Service(control)
    except OSError:
        control.close()
        raise
