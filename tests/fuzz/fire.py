"""``python -m tests.fuzz.fire ENDPOINT CLOUD_CARD ROLE:KEY …``: attackers, until SIGTERM.

Peers with keys of their own send hostile messages as fast as they can; connections with unknown
keys and without any come and go. With ``--mute`` the same work is done and nothing is sent: what is
left is what attackers cost only because they share the machine.

In a process of its own, so that who measures does not share an interpreter with them.
"""

import argparse
import json
import random
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

import zmq

from tests.fuzz.messages import hostile_frames
from user_lib.contract.card import Card
from user_lib.wire.keys import LinkKeys, create_keys, load_card, read_link_keys
from user_lib.wire.socket import HANDSHAKE_EVENTS, dealer

KNOCK_EVERY_S = 0.01
KNOCK_PATIENCE_MS = 200
MESSAGES_A_CONNECTION = 5000
HELD = 50


class Fire:
    """Attackers on threads of their own until stopped."""

    def __init__(self, endpoint: str, cloud: Path, attackers: list[str], *, mute: bool) -> None:
        self.counts = {"sent": 0, "knocked": 0, "connected": 0}
        self._endpoint, self._mute = endpoint, mute
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._unknown, args=(load_card(cloud),))]
        self._knock_every_s = KNOCK_EVERY_S if attackers else 0.0
        if attackers:
            self._threads.append(threading.Thread(target=self._strangers))
        for seed, attacker in enumerate(attackers):
            role, key = attacker.split(":", 1)
            link = read_link_keys(Path(key), cloud)
            kind = "from_vehicle" if role == "vehicle" else "request"
            self._threads.append(threading.Thread(target=self._attack, args=(link, kind, seed)))

    def run(self) -> None:
        """Attack until SIGTERM."""

        def stop(number: int, frame: FrameType | None) -> None:
            del number, frame
            self._stop.set()

        signal.signal(signal.SIGTERM, stop)
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def _attack(self, link: LinkKeys, kind: str, seed: int) -> None:
        dice = random.Random(seed)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        while not self._stop.is_set():
            if self._mute:
                hostile_frames(kind, dice)
                continue
            with dealer(context, self._endpoint, link) as attacker:
                self._speak(attacker, kind, dice)
        context.term()

    def _speak(self, attacker: "zmq.Socket[bytes]", kind: str, dice: random.Random) -> None:
        """Send one connection's worth; seldom read what comes back."""
        if not attacker.poll(1000, zmq.POLLOUT):
            return
        self.counts["connected"] += 1
        for _ in range(MESSAGES_A_CONNECTION):
            if self._stop.is_set():
                return
            frames = hostile_frames(kind, dice)
            try:
                attacker.send_multipart(frames or [b""], zmq.NOBLOCK)
                self.counts["sent"] += 1
            except zmq.Again:
                if not attacker.poll(1000, zmq.POLLOUT):
                    return

    def _unknown(self, cloud: Card) -> None:
        """Shake hands with keys that nobody enrolled, again and again."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        while not self._stop.wait(self._knock_every_s):
            link = LinkKeys(create_keys("ada", "analyst"), cloud)
            if self._mute:
                continue
            with (
                dealer(context, self._endpoint, link, watch=HANDSHAKE_EVENTS) as own,
                own.get_monitor_socket() as refused,
            ):
                self.counts["knocked"] += bool(refused.poll(KNOCK_PATIENCE_MS))
                own.disable_monitor()
        context.term()

    def _strangers(self) -> None:
        """Connect without keys: say nothing, or noise, and hang up at some time."""
        dice = random.Random(99)
        host, port = self._endpoint.removeprefix("tcp://").split(":")
        held: list[socket.socket] = []
        while not self._stop.wait(0.02):
            noise = dice.randbytes(dice.randrange(200))
            if self._mute:
                continue
            try:
                raw = socket.create_connection((host, int(port)), timeout=2)
                raw.sendall(noise)
                held.append(raw)
            except OSError:
                continue
            while len(held) > HELD:
                held.pop(dice.randrange(len(held))).close()
        for raw in held:
            raw.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.fire", description=__doc__)
    parser.add_argument("endpoint")
    parser.add_argument("cloud", type=Path, help="the cloud's card")
    parser.add_argument(
        "attackers",
        nargs="*",
        metavar="ROLE:KEY",
        help="without any: strangers that shake hands as fast as they can",
    )
    parser.add_argument("--mute", action="store_true")
    given = parser.parse_args()
    fire = Fire(given.endpoint, given.cloud, given.attackers, mute=given.mute)
    fire.run()
    sys.stdout.write(json.dumps(fire.counts))


if __name__ == "__main__":
    main()
