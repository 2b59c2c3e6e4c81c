"""A SocketCAN interface on sockets that every machine has."""

import errno
import socket
import struct

from hw.socketcan.can_socket import prepare

__all__ = ["Link"]


class Link:
    """An interface made of UDP on this machine: it can be absent, down or up."""

    interface = "can9"

    def __init__(self, capacity_frames: int = 4096) -> None:
        self.there = self.up = True
        self.capacity_frames = capacity_frames
        self.opened: list[socket.socket] = []

    def open(self) -> socket.socket:
        self._need_there()
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("127.0.0.1", 0))
        prepare(receiver, self.capacity_frames, frozenset())
        self.opened.append(receiver)
        return receiver

    def is_up(self, opened: socket.socket) -> bool:
        assert opened is self.opened[-1]
        self._need_there()
        return self.up

    def remove(self) -> None:
        """Let the next read of the socket fail, as the network tells that nobody is there."""
        self.there = False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            nobody.bind(("127.0.0.1", 0))
            address = nobody.getsockname()
        self.opened[-1].connect(address)
        self.opened[-1].send(b"")

    def _need_there(self) -> None:
        if not self.there:
            raise OSError(errno.ENODEV, "No such device")

    def send(self, *can_ids: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for can_id in can_ids:
                frame = struct.pack("=IB3x8s", can_id, 1, bytes([can_id & 0xFF]))
                sender.sendto(frame, self.opened[-1].getsockname())
