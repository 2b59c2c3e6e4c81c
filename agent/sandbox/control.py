"""The words between the agent and its zygote, each one datagram of a local socket pair.

A job is one byte on the control socket (another for an external worker's) with four descriptors:
the sealed job, the write ends of the answer's and the prints' pipes, and a socket on which the
zygote reports this one job: `Started` with a pidfd, then `Exited`. If that socket ends before, the
zygote is gone.
"""

import os
import socket

import msgspec

from agent.sandbox.lockdown.confinement import Confinement

__all__ = [
    "EXTERNAL_JOB",
    "JOB",
    "JOB_DESCRIPTORS",
    "Exited",
    "Hello",
    "Setup",
    "Started",
    "close_all",
    "decode",
    "encode",
    "receive",
]

JOB = b"J"
EXTERNAL_JOB = b"X"
JOB_DESCRIPTORS = 4
DATAGRAM_BYTES = 64 * 1024


class Setup(msgspec.Struct, frozen=True, tag=True):
    """The agent's first word: how workers are locked down, and how many stand ready."""

    confinement: Confinement
    spares: int
    scratch_mb: int


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The zygote's first word: it has loaded everything and serves, or has a ``problem``."""

    threads: int
    problem: str = ""


class Started(msgspec.Struct, frozen=True, tag=True):
    """A worker has the job; its pidfd comes beside this."""

    pid: int


class Exited(msgspec.Struct, frozen=True, tag=True):
    """A worker has ended; told by the parent that waited for it.

    Units: ``status`` as waitpid(2) gives it; the worker's whole life is counted in ``cpu_s``.
    """

    status: int
    cpu_s: float
    max_rss_mb: float


Message = Setup | Hello | Started | Exited


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
