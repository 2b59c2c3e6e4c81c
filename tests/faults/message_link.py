"""A relay of whole messages that drops, delays, repeats and reorders them, as its mood says.

Peers connect to it as to the cloud. Each peer gets a connection of its own to the cloud, which
never learns that there is a relay between. A repeat or another order cannot be made by a relay of
bytes: ZeroMQ would refuse the stream.
"""

import heapq
import itertools
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import zmq

__all__ = ["CALM", "MessageLink", "Mood"]

TICK_MS = 20
HIGH_WATER = 100_000


@dataclass(frozen=True)
class Mood:
    """What happens to a message, each by its probability; ``delay_s`` is the most."""

    drop: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.0


CALM = Mood()


class MessageLink:
    """Relays on a thread of its own between `start` and `close`."""

    def __init__(self, cloud: str, seed: int) -> None:
        self._cloud, self._random = cloud, random.Random(seed)
        self._context: zmq.Context[Any] = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._front.setsockopt(zmq.LINGER, 0)
        self._front.setsockopt(zmq.SNDHWM, HIGH_WATER)
        port = self._front.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self.mood = CALM
        self.largest_up: int | None = None
        """Bytes of the largest message that gets to the cloud: a tunnel is too narrow for more."""
        self.deaf = False
        """Nothing that the cloud says gets to its peers."""
        self.counts: Counter[str] = Counter()
        self._backs: dict[bytes, Any] = {}
        self._later: list[tuple[float, int, Any, list[bytes]]] = []
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._poller = zmq.Poller()
        self._poller.register(self._front, zmq.POLLIN)
        self._thread = threading.Thread(target=self._run, name="link")
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for socket in (self._front, *self._backs.values()):
            socket.close(0)
        self._context.term()

    def calm(self) -> None:
        self.mood, self.largest_up, self.deaf = replace(CALM), None, False

    def _run(self) -> None:
        while not self._stop.is_set():
            ready = dict(self._poller.poll(TICK_MS))
            if self._front in ready:
                peer, *frames = self._front.recv_multipart()
                self._pass(self._back_of(peer), frames)
            for peer, back in list(self._backs.items()):
                if back in ready:
                    self._pass(self._front, [peer, *back.recv_multipart()])
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                _, _, socket, frames = heapq.heappop(self._later)
                self._send(socket, frames)

    def _back_of(self, peer: bytes) -> Any:
        if peer not in self._backs:
            back = self._backs[peer] = self._context.socket(zmq.DEALER)
            back.setsockopt(zmq.LINGER, 0)
            back.setsockopt(zmq.RECONNECT_IVL, 50)
            back.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
            back.connect(self._cloud)
            self._poller.register(back, zmq.POLLIN)
        return self._backs[peer]

    def _pass(self, socket: Any, frames: list[bytes]) -> None:
        mood, chance = self.mood, self._random.random
        self.counts["messages"] += 1
        if chance() < mood.drop:
            self.counts["dropped"] += 1
            return
        if self._swallows(socket is not self._front, frames):
            self.counts["swallowed"] += 1
            return
        copies = 1 + (chance() < mood.repeat)
        self.counts["repeated"] += copies - 1
        for _ in range(copies):
            if chance() < mood.delay:
                self.counts["delayed"] += 1
                due = time.monotonic() + chance() * mood.delay_s
                heapq.heappush(self._later, (due, next(self._numbers), socket, frames))
            else:
                self._send(socket, frames)

    def _swallows(self, upwards: bool, frames: list[bytes]) -> bool:
        if not upwards:
            return self.deaf
        return self.largest_up is not None and sum(map(len, frames)) > self.largest_up

    def _send(self, socket: Any, frames: list[bytes]) -> None:
        try:
            socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            self.counts["overflown"] += 1
