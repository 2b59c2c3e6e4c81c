"""Outbox and ledger keep their law under any order of commits, losses on the way, and crashes.

The vehicle's store and session and the cloud's ledger are the real ones; the link between is a bag
of messages from which any may come next, come again, or never come.
"""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.link import session as link
from agent.store import Acknowledge, Enqueue, Store
from cloud.ledger import AssignmentRow, Ledger
from user_lib.contract.clock import SECOND
from user_lib.contract.messages import Deliver, Losses, Result, Welcome
from user_lib.contract.states import JobState
from user_lib.contract.validation import parse

OUTBOX_MB = 0.012
PRIORITIES = {"low": 1, "high": 8}
SPEC = parse({"signals": ["Vehicle.Speed"], "window": {"seconds": 1}, "onboard": "mean"})
WELCOME = Welcome(lease_s=10.0, cloud_version="1", messages_per_s=2, mb_per_s=1)
PICK = st.integers(0, 1000)


class Exchange(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="oodida-model-"))
        self.committed: dict[str, int] = dict.fromkeys(PRIORITIES, 0)
        self.now_ns = 0
        self.up: list[Deliver] = []
        self.down: list[int] = []
        self.unsaid: list[int] = []
        """Acknowledgements that wait for the ledger's commit."""
        self.session = link.Session()

    @initialize()
    def begin(self) -> None:
        self.store = Store(self.folder / "vehicle", outbox_mb=OUTBOX_MB)
        self.ledger = Ledger(self.folder / "ledger.db")
        for name in PRIORITIES:
            row = AssignmentRow(
                0, name, "ann", SPEC, JobState.RUNNING, "", "", 1, None, None, 0, 0, 0
            )
            self.ledger.assignments.add(row, name, ("car",))
        self.ledger.commit()

    # --- the vehicle -----------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(sorted(PRIORITIES)),
        size=st.integers(100, 3000),
        count=st.integers(1, 8),
    )
    def commit(self, name: str, size: int, count: int) -> None:
        for _ in range(count):
            self.committed[name] += 1
            result = Result(
                assignment_id=name, epoch="e", iteration=self.committed[name], status="ok",
                value="x" * size, method="mean", dbc_hash="d", window_start_ns=0,
                window_stop_ns=1, agent_version="1", created_ns=1,
            )  # fmt: skip
            self.store.apply([Enqueue(result, PRIORITIES[name])])

    @rule()
    def connect(self) -> None:
        self.session = link.connected(self.session, self.now_ns)
        self.session = link.welcomed(self.session, WELCOME, self.now_ns)

    @rule()
    def disconnect(self) -> None:
        self.session = link.disconnected(self.session)

    @rule(seconds=st.integers(0, 70))
    def speak(self, seconds: int) -> None:
        self.now_ns += seconds * SECOND
        self.session, commands = link.poll(self.session, self.store.deliverable(), self.now_ns)
        for command in commands:
            if isinstance(command, link.SendEntry):
                item = self.store.load(command.seq)
                assert item is not None
                self.up.append(Deliver(seq=command.seq, item=item))

    @rule()
    def cut_the_vehicles_power(self) -> None:
        self.store.close()
        self.store = Store(self.folder / "vehicle", outbox_mb=OUTBOX_MB)
        self.session = link.Session()

    @precondition(lambda self: self.down)
    @rule(pick=PICK, again=st.booleans())
    def acknowledge(self, pick: int, again: bool) -> None:
        seq = self.down[pick % len(self.down)]
        if not again:
            self.down.remove(seq)
        self.session = link.acknowledged(self.session, [seq])
        self.store.apply([Acknowledge((seq,))])

    # --- the link --------------------------------------------------------------------------------

    @precondition(lambda self: self.up)
    @rule(pick=PICK)
    def lose_on_the_way(self, pick: int) -> None:
        del self.up[pick % len(self.up)]

    @precondition(lambda self: self.down)
    @rule(pick=PICK)
    def lose_on_the_way_back(self, pick: int) -> None:
        del self.down[pick % len(self.down)]

    @precondition(lambda self: self.up)
    @rule(pick=PICK, again=st.booleans())
    def arrive(self, pick: int, again: bool) -> None:
        at = pick % len(self.up)
        self.take(self.up[at])
        if not again:
            del self.up[at]

    @precondition(lambda self: self.up)
    @rule()
    def all_arrive_and_are_kept(self) -> None:
        for message in self.up:
            self.take(message)
        self.up.clear()
        self.put_on_disk()

    # --- the cloud -------------------------------------------------------------------------------

    def take(self, message: Deliver) -> None:
        item = message.item
        row = self.ledger.find(item.assignment_id)
        assert row is not None
        if isinstance(item, Result):
            self.ledger.add_result(row, named(item), self.now_ns)
        elif isinstance(item, Losses):
            self.ledger.members.lost(row.row, named(item))
        self.unsaid.append(message.seq)

    @rule()
    def put_on_disk(self) -> None:
        self.ledger.commit()
        self.down += self.unsaid
        self.unsaid.clear()

    @rule()
    def cut_the_clouds_power(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.folder / "ledger.db")
        self.unsaid.clear()

    # --- the law ---------------------------------------------------------------------------------

    def known(self) -> list[tuple[str, int]]:
        """Return what the ledger has on disk, results and losses, repeats included."""
        with closing(sqlite3.connect(f"file:{self.folder}/ledger.db?mode=ro", uri=True)) as db:
            names = dict(db.execute("SELECT id, assignment_id FROM assignments"))
            found = [
                (names[a], i) for a, i in db.execute("SELECT assignment, iteration FROM results")
            ]
            for a, first, last in db.execute("SELECT assignment, first, last FROM losses"):
                found += [(names[a], i) for i in range(first, last + 1)]
        return found

    @invariant()
    def nothing_counts_twice(self) -> None:
        known = self.known()
        assert len(known) == len(set(known))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for message in self.up:
                self.take(message)
            while entries := self.store.deliverable():
                for entry in entries:
                    item = self.store.load(entry.seq)
                    assert item is not None
                    self.take(Deliver(seq=entry.seq, item=item))
                self.ledger.commit()
                self.store.apply([Acknowledge(tuple(e.seq for e in entries))])
            self.ledger.commit()
            known = self.known()
            self.store.close()
            self.ledger.close()
            wanted = [(name, i) for name, n in self.committed.items() for i in range(1, n + 1)]
            assert sorted(known) == sorted(wanted)
        shutil.rmtree(self.folder)


def named(item: Any) -> Any:
    return msgspec.structs.replace(item, vehicle_id="car")


Exchange.TestCase.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
TestExchange = Exchange.TestCase
