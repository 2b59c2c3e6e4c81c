"""A server that shakes hands as a ROUTER without keys, and then sends a message without an end."""

import socket
import struct
import threading
import time

FRAME_BYTES = 1_000_000
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_READY = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"ROUTER"
_FRAME = b"\x03" + struct.pack(">Q", FRAME_BYTES) + bytes(FRAME_BYTES)
"""A large frame, and more to come."""


class EndlessServer:
    """Serves one connection after the other until closed; each gets frames until it is cut."""

    def __init__(self, port: int = 0, most_mb: int = 2000) -> None:
        self.most_mb = most_mb
        self.sent_mb: list[int] = []
        """Of each connection that was served."""
        self._stop = threading.Event()
        self._listener = _listening(port)
        self._listener.settimeout(0.2)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                raw, _ = self._listener.accept()
            except TimeoutError:
                continue
            with raw:
                raw.settimeout(20)
                self.sent_mb.append(0)
                try:
                    raw.sendall(_GREETING + bytes([4, len(_READY)]) + _READY)
                    self._send_frames(raw)
                except OSError:
                    continue

    def _send_frames(self, raw: socket.socket) -> None:
        while not self._stop.is_set() and self.sent_mb[-1] < self.most_mb:
            raw.sendall(_FRAME)
            self.sent_mb[-1] += 1


def _listening(port: int) -> socket.socket:
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
