"""The words between the agent and its zygote, each one datagram of a local socket pair.

An order for a worker is one byte on the control socket (another for an external worker) with three
descriptors: the write ends of the answer's and the prints' pipes, and a socket on which the zygote
reports this one worker: `Started`, with a pidfd and the worker's own channel, then `Exited`; or
`NotMade`. If that socket ends before, the zygote is gone. A job is one byte on the worker's channel
with the descriptor of the sealed job.

A spare is ordered with the job that took the last one, and made when nothing else waits. On the
status socket the agent may say `NOW`, when a job wants a spare that is not made yet, and `KILL`,
when it may not kill the worker itself because that is another user's; a status socket that the
agent closes says so too.
"""

import os
import socket

import msgspec

from agent.sandbox.lockdown.confinement import Confinement

__all__ = [
    "EXTERNAL_WORKER",
    "JOB",
    "KILL",
    "NOW",
    "ORDER_DESCRIPTORS",
    "PYTHON_WORKER",
    "SPARE_WORKER",
    "STARTED_DESCRIPTORS",
    "Exited",
    "Hello",
    "NotMade",
    "Setup",
    "Started",
    "close_all",
    "decode",
    "encode",
    "receive",
]

JOB = b"J"
KILL = b"K"
NOW = b"N"
PYTHON_WORKER = b"P"
EXTERNAL_WORKER = b"X"
SPARE_WORKER = b"S"
ORDER_DESCRIPTORS = 3
STARTED_DESCRIPTORS = 2
DATAGRAM_BYTES = 64 * 1024


class Setup(msgspec.Struct, frozen=True, tag=True):
    """The agent's first word: how workers are locked down."""

    confinement: Confinement
    scratch_mb: int


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The zygote's first word: it has loaded everything and serves, or has a ``problem``."""

    threads: int
    problem: str = ""
    bounded: tuple[str, ...] = ()
    """The controllers of the cgroup that each worker gets; none where none is delegated."""
    unbounded: str = ""
    """Why workers get no cgroup of their own; empty when they do."""


class Started(msgspec.Struct, frozen=True, tag=True):
    """There is a worker; its pidfd and its channel come beside this."""

    pid: int


class NotMade(msgspec.Struct, frozen=True, tag=True):
    """There will be no worker for this order: the machine refused one, for now."""

    problem: str


class Exited(msgspec.Struct, frozen=True, tag=True):
    """A worker has ended; told by the parent that waited for it.

    Units: ``status`` as waitpid(2) gives it; the worker's whole life is counted in ``cpu_s``.
    """

    status: int
    cpu_s: float
    max_rss_mb: float
    out_of_memory: bool = False
    """The kernel killed it because its cgroup was full."""


Message = Setup | Hello | Started | NotMade | Exited


def encode(message: Message) -> bytes:
    """Return the datagram of a message."""
    return msgspec.msgpack.encode(message)


def decode(datagram: bytes) -> Message:
    """Return the message in a datagram.

    Raises: msgspec.DecodeError.
    """
    message: Message = msgspec.msgpack.decode(datagram, type=Message)
    return message


def receive(sock: socket.socket, descriptors: int = 0) -> tuple[bytes, list[int]]:
    """Receive one datagram and up to ``descriptors`` descriptors; empty at the end."""
    if not descriptors:
        return sock.recv(DATAGRAM_BYTES), []
    data, fds, _, _ = socket.recv_fds(sock, DATAGRAM_BYTES, descriptors, socket.MSG_CMSG_CLOEXEC)
    return data, fds


def close_all(fds: list[int]) -> None:
    """Close descriptors that were received or made for someone else."""
    for fd in fds:
        os.close(fd)
