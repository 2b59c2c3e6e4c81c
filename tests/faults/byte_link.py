"""A relay of bytes that cuts connections anywhere, in the middle of a message too."""

import random
import selectors
import socket
import threading
from collections import Counter
from dataclasses import dataclass

__all__ = ["ByteLink"]

CHUNK = 4096
TICK_S = 0.05


@dataclass(eq=False)
class _Pair:
    """One connection of a peer, and ours to where it wanted to go."""

    near: socket.socket
    far: socket.socket

    def other(self, end: socket.socket) -> socket.socket:
        return self.far if end is self.near else self.near

    def close(self) -> None:
        self.near.close()
        self.far.close()


class ByteLink:
    """Relays on a thread of its own until `close`; ``cuts`` is a chunk's chance."""

    def __init__(self, target: str, seed: int) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0.0
        self.closed = False
        """Nobody gets through: a tunnel."""
        self.closes_after: int | None = None
        """A tunnel comes once so many bytes more were relayed."""
        self.counts: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._pairs: set[_Pair] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bytes")
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for pair in list(self._pairs):
            self._cut(pair)
        self._listener.close()
        self._selector.close()

    def calm(self) -> None:
        self.cuts, self.closed = 0.0, False

    def _run(self) -> None:
        while not self._stop.is_set():
            if self.closed:
                for pair in list(self._pairs):
                    self._cut(pair)
            for key, _ in self._selector.select(TICK_S):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._pairs:
                    self._relay(key.data, key.fileobj)  # type: ignore[arg-type]

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self.closed:
            near.close()
            return
        try:
            far = socket.create_connection(self._target, timeout=2)
        except OSError:
            near.close()
            return
        pair = _Pair(near, far)
        self._pairs.add(pair)
        for end in (near, far):
            end.settimeout(5)
            self._selector.register(end, selectors.EVENT_READ, pair)

    def _relay(self, pair: _Pair, end: socket.socket) -> None:
        try:
            data = end.recv(CHUNK)
            cut = self._random.random() < self.cuts
            if cut:
                self.counts["cut"] += 1
                data = data[: self._random.randrange(len(data) + 1)]
            pair.other(end).sendall(data)
            self._count(len(data))
        except OSError:
            data, cut = b"", False
        if cut or not data:
            self._cut(pair)

    def _count(self, relayed: int) -> None:
        self.counts["relayed"] += relayed
        if self.closes_after is not None:
            self.closes_after -= relayed
            if self.closes_after <= 0:
                self.closes_after, self.closed = None, True

    def _cut(self, pair: _Pair) -> None:
        for end in (pair.near, pair.far):
            self._selector.unregister(end)
        self._pairs.discard(pair)
        pair.close()
