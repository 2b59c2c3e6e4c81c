"""``python -m tests.fuzz.storm --minutes 3``: a real cloud and a real vehicle under hostile fire.

Peers with keys of their own send hostile messages as fast as they can, connections with unknown
keys and without any come and go, and the whole time an analyst asks and a job runs. Told in the
end: how long the analyst waited with and without the fire, and by how much memory and descriptors
of the cloud grew. Ends with 1 when something crashed, was handled wrongly, or grew without end.
"""

import argparse
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import zmq

from tests.fuzz.messages import hostile_frames
from user_lib.contract.card import Card
from user_lib.demo.local_fleet import LocalFleet, simulated
from user_lib.fleet import Fleet
from user_lib.wire.keys import LinkKeys, create_keys, load_card, read_link_keys
from user_lib.wire.socket import dealer

CALM_S = 10.0
MOST_GROWTH_MB = 150.0
MOST_FDS = 100
ATTACKERS = (("mallory", "analyst"), ("evil-1", "vehicle"))
JOB = {
    "signals": ["Vehicle.Speed"],
    "window": {"seconds": 1},
    "onboard": "mean",
    "offboard": "mean",
    "iterations": "forever",
}


class Fire:
    """Attackers on threads of their own until stopped."""

    def __init__(self, local: LocalFleet) -> None:
        self.sent = self.knocked = 0
        self._stop = threading.Event()
        assert local.keys is not None
        cloud = load_card(Path(local.keys.for_user("ada")["cloud"]))
        self._threads = [
            threading.Thread(target=self._strangers, args=(local.endpoint,)),
            threading.Thread(target=self._unknown, args=(local.endpoint, cloud)),
        ]
        for number, (name, role) in enumerate(ATTACKERS):
            keys = local.keys
            paths = keys.for_vehicle(name) if role == "vehicle" else keys.for_user(name)
            link = read_link_keys(Path(paths["own"]), Path(paths["cloud"]))
            kind = "from_vehicle" if role == "vehicle" else "request"
            args = (local.endpoint, link, kind, number)
            self._threads.append(threading.Thread(target=self._attack, args=args))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _attack(self, endpoint: str, link: object, kind: str, seed: int) -> None:
        dice = random.Random(seed)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        while not self._stop.is_set():
            with dealer(context, endpoint, link) as attacker:  # type: ignore[arg-type]
                self._speak(attacker, kind, dice)
        context.term()

    def _speak(self, attacker: "zmq.Socket[bytes]", kind: str, dice: random.Random) -> None:
        """Send one connection's worth; seldom read what comes back."""
        if not attacker.poll(5000, zmq.POLLOUT):
            return
        for _ in range(5000):
            if self._stop.is_set():
                return
            frames = hostile_frames(kind, dice)
            try:
                attacker.send_multipart(frames or [b""], zmq.NOBLOCK)
                self.sent += 1
            except zmq.Again:
                attacker.poll(100, zmq.POLLOUT)

    def _unknown(self, endpoint: str, cloud: Card) -> None:
        """Shake hands with keys that nobody enrolled, again and again."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        while not self._stop.wait(0.01):
            with dealer(context, endpoint, LinkKeys(create_keys("ada", "analyst"), cloud)) as own:
                own.poll(20, zmq.POLLOUT)
                self.knocked += 1
        context.term()

    def _strangers(self, endpoint: str) -> None:
        """Connect without keys: say nothing, or noise, and hang up at some time."""
        dice = random.Random(99)
        host, port = endpoint.removeprefix("tcp://").split(":")
        held: list[socket.socket] = []
        while not self._stop.wait(0.02):
            try:
                raw = socket.create_connection((host, int(port)), timeout=2)
                raw.sendall(dice.randbytes(dice.randrange(200)))
                held.append(raw)
            except OSError:
                continue
            while len(held) > 50:
                held.pop(dice.randrange(len(held))).close()
        for raw in held:
            raw.close()


def waits_ms(fleet: Fleet, seconds: float) -> list[float]:
    """Ask again and again for so long; return how long each answer took."""
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        fleet.vehicles()
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.02)
    return found


def held_by(pid: int) -> tuple[float, int]:
    """Return resident MB and open descriptors of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd"))


def told(name: str, waits: list[float]) -> str:
    ordered = sorted(waits)
    p99 = ordered[int(len(ordered) * 0.99)]
    return f"{name}: {len(waits)} answers, p50 {statistics.median(waits):.1f} ms, p99 {p99:.1f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long under fire (3)")
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="oodida-storm-") as folder:
        car = simulated("compact-1", "compact", seed=1)
        with LocalFleet(Path(folder), [car]) as local:
            local.start()
            with local.connect("ada") as fleet:
                local.wait_online(fleet)
                return storm(local, fleet, minutes)


def storm(local: LocalFleet, fleet: Fleet, minutes: float) -> int:
    job = fleet.assign(JOB)
    calm = waits_ms(fleet, CALM_S)
    before_mb, before_fds = held_by(local.pid("cloud"))
    results = len(job.results())
    fire = Fire(local)
    try:
        fired = waits_ms(fleet, minutes * 60)
        most_mb, most_fds = held_by(local.pid("cloud"))
    finally:
        fire.stop()
    more = len(job.results()) - results
    verified = job.verify()
    log = (local.folder / "cloud.log").read_text()
    sys.stdout.write(
        f"{told('calm', calm)}\n{told('under fire', fired)}\n{fire.sent} hostile messages, "
        f"{fire.knocked} handshakes; "
        f"the job gave {more} results meanwhile; cloud {before_mb:.0f} to {most_mb:.0f} MB, "
        f"{before_fds} to {most_fds} descriptors\n"
    )
    failed = [
        words
        for words, bad in (
            ("the cloud ended", not local.is_running("cloud")),
            ("the vehicle ended", not local.is_running("compact-1")),
            ("a message was not handled", "Traceback" in log),
            ("the job does not verify", not verified.ok),
            ("the job stood still", more < minutes * 60 * 0.5),
            ("memory grew", most_mb - before_mb > MOST_GROWTH_MB),
            ("descriptors grew", most_fds - before_fds > MOST_FDS),
        )
        if bad
    ]
    sys.stdout.write(f"failed: {', '.join(failed)}\n" if failed else "all held\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
