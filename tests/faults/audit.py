"""The laws, read from the ledger, the analyst's files and what was seen in the outboxes."""

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import msgspec
from msgspec.structs import replace

from tests.faults.asker import letter_of
from tests.faults.campaign import Campaign
from tests.faults.reader import read_kept
from user_lib.contract.content import unpack_body
from user_lib.contract.messages import Event, JobChanged, Result, RoundClosed
from user_lib.contract.states import JOB_ENDS
from user_lib.verification.findings import Verification

__all__ = ["Audit", "audited"]

Identity = tuple[str, str, str, int]
ITEM = Result | RoundClosed | JobChanged


class Audit:
    """What is on disk after a campaign."""

    compared = 0
    """Results whose value was compared with their code."""
    learned = 0
    """Results of the feedback job that go on from the round before."""

    def __init__(self, ledger: Path) -> None:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
            self.results = self._identities(
                db.execute(
                    "SELECT assignment_id, vehicle_id, epoch, iteration FROM results"
                    " JOIN assignments ON assignments.id = results.assignment"
                )
            )
            self.lost: Counter[Identity] = Counter()
            for job, vehicle, epoch, first, last in db.execute(
                "SELECT assignment_id, vehicle_id, epoch, first, last FROM losses"
                " JOIN assignments ON assignments.id = losses.assignment"
            ):
                self.lost.update((job, vehicle, epoch, i) for i in range(first, last + 1))
            self.committed: dict[tuple[str, str], int | None] = {
                (job, vehicle): committed
                for job, vehicle, committed in db.execute(
                    "SELECT assignment_id, vehicle_id, committed FROM members"
                    " JOIN assignments ON assignments.id = members.assignment"
                )
            }
            self.letters = {
                version: letter_of(source)
                for version, source in db.execute("SELECT version, source FROM code_versions")
            }
            self.contents: dict[str, bytes] = {}
            for digest, data in db.execute(
                "SELECT digest, data FROM contents JOIN chunks ON chunks.content = contents.id"
                " WHERE whole ORDER BY number"
            ):
                self.contents[digest] = self.contents.get(digest, b"") + data
            self.events: dict[str, list[Event]] = {}
            for job, seq, body in db.execute(
                "SELECT assignment_id, seq, body FROM events"
                " JOIN assignments ON assignments.id = events.assignment ORDER BY seq"
            ):
                item = msgspec.msgpack.decode(body, type=ITEM)
                self.events.setdefault(job, []).append(Event(seq=seq, item=item))

    def _identities(self, rows: sqlite3.Cursor) -> Counter[Identity]:
        return Counter((job, vehicle, epoch, n) for job, vehicle, epoch, n in rows)

    def check_vehicles(self, seen: set[Identity], destroyed: set[tuple[str, str]]) -> None:
        """What a vehicle committed is in the ledger once, or told as lost once.

        Of an epoch whose state file was destroyed some may be nowhere, but nothing twice.
        """
        told = self.results + self.lost
        twice = {i: n for i, n in told.items() if n != 1}
        assert not twice, f"counted twice: {twice}"
        missing = {i for i in seen - told.keys() if (i[1], i[2]) not in destroyed}
        assert not missing, f"seen in an outbox, and nowhere in the ledger: {sorted(missing)}"
        for (job, vehicle), committed in self.committed.items():
            if any(name == vehicle for name, _ in destroyed):
                continue  # the end of a task counts what its last epoch committed
            count = sum(i[:2] == (job, vehicle) for i in told)
            assert count == (committed or 0), (
                f"{vehicle} committed {committed} iterations of {job}, the ledger knows {count}"
            )

    def check_verified(
        self, verified: dict[str, Verification], destroyed: set[tuple[str, str]]
    ) -> None:
        """The analyst can verify all of it; what is missing is of an epoch that was destroyed."""
        damaged = {name for name, _ in destroyed}
        for found in verified.values():
            left = [p for p in found.problems if p.partition(":")[0] not in damaged]
            assert not left, left
            assert not found.unchecked, found.unchecked
            assert found.results

    def check_streams(self, kept_in: dict[str, Path]) -> None:
        """The analyst read every event once, in order, and it never changed afterwards."""
        for job, path in kept_in.items():
            kept, events = read_kept(path), self.events[job]
            assert [e.seq for e in events] == list(range(1, len(events) + 1))
            assert [e.seq for e in kept] == list(range(1, len(kept) + 1))
            changed = [e.seq for e, k in zip(events, kept, strict=False) if plain(e) != plain(k)]
            assert not changed, f"{job}: events {changed} are not what the analyst read"
            after = [e.item for e in events[len(kept) :]]  # the job had ended when these came
            assert not [i for i in after if isinstance(i, RoundClosed) or is_early(i)]
            assert any(isinstance(e.item, JobChanged) and e.item.state in JOB_ENDS for e in kept)
            rounds = [e.item.round for e in events if isinstance(e.item, RoundClosed)]
            assert len(rounds) == len(set(rounds)), f"{job}: a round was closed twice"

    def check_rounds(self) -> None:
        """What counted in a round was in the ledger, and in time."""
        for job, events in self.events.items():
            before: dict[tuple[int, str], bool] = {}
            for event in events:
                item = event.item
                if isinstance(item, Result):
                    before[item.iteration, item.vehicle_id] = item.late
                elif isinstance(item, RoundClosed):
                    for vehicle in (v for group in item.groups for v in group.vehicles):
                        late = before.get((item.round, vehicle))
                        assert late is False, f"{job} round {item.round}: {vehicle} counts wrongly"

    def check_values(self) -> int:
        """A result is what the code made of which it tells; return how many were compared."""
        compared = 0
        for item in (e.item for events in self.events.values() for e in events):
            if not isinstance(item, Result) or item.status != "ok" or item.method != "custom":
                continue
            value, letter = item.value, self.letters[item.code_version]
            if item.payload is not None:
                body = self.contents[item.payload.digest]
                assert hashlib.sha256(body).hexdigest() == item.payload.digest
                value = unpack_body(body).value
            if isinstance(value, str):
                assert set(value) == {letter}, f"{item.iteration} of {item.vehicle_id}: {letter}"
                compared += 1
        return compared

    def check_learning(self, job: str) -> int:
        """Each result of a feedback job goes on from the newest round with a value before it."""
        results = [e.item for e in self.events[job] if isinstance(e.item, Result)]
        rounds = [e.item for e in self.events[job] if isinstance(e.item, RoundClosed)]
        values = {r.round: r.groups[0].value for r in rounds if r.groups and not r.groups[0].error}
        good = [r for r in results if r.status == "ok"]
        for result in good:
            before = [number for number in values if number < result.iteration]
            wanted = 1.0 + (values[max(before)] if before else 0.0)
            assert result.value == wanted, f"{result.iteration} of {result.vehicle_id}: {wanted}"
        return len(good)


def audited(campaign: Campaign) -> Audit:
    """Return what a campaign left, once all laws were found to hold."""
    audit = Audit(campaign.ledger)
    audit.check_vehicles(campaign.seen, campaign.destroyed)
    audit.check_streams({job.id: campaign.kept(job.id) for job in campaign.jobs})
    audit.check_rounds()
    audit.check_verified(campaign.verified, campaign.destroyed)
    audit.compared = audit.check_values()
    audit.learned = audit.check_learning(campaign.job("learning"))
    return audit


def is_early(item: Result | RoundClosed | JobChanged) -> bool:
    return isinstance(item, Result) and not item.late


def plain(event: Event) -> object:
    """Return an event as JSON has it: the file of the analyst knows no tuples."""
    return msgspec.json.decode(msgspec.json.encode(replace(event, item=_named(event.item))))


def _named(item: Result | RoundClosed | JobChanged) -> Result | RoundClosed | JobChanged:
    """Leave out what the ledger only names and the analyst has fetched by its hash."""
    if isinstance(item, Result) and item.payload is not None:
        return replace(item, value=None, partial=None)
    if isinstance(item, RoundClosed):
        groups = (g if g.payload is None else replace(g, value=None) for g in item.groups)
        return replace(item, groups=tuple(groups))
    return item
