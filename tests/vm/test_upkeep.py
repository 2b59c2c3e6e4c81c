"""Upgrades, a network held back and power cuts, on one disk that boots again and again."""

import hashlib
import json
import random
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.audit import Audit
from tests.vm.lab import POWER_CUT, VMLAB, Boot, boot
from user_lib.contract.messages import Result

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

SEED = 6
BOOTS = ("engineer", "large", "work", "work")
"""What the vehicle is at when its power goes."""
LONGEST_S = 2.5
"""How long after enough results have come the power goes, at most."""


class Life:
    """What was seen of one vehicle in all its boots."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.boots: list[Boot] = []
        self.committed: set[tuple[str, str, str, int]] = set()
        self.read: dict[str, int] = {}

    def note(self, one: Boot) -> None:
        self.boots.append(one)
        for line in one.said("COMMITTED"):
            job, epoch, iteration = json.loads(line)
            self.committed.add((job, "car-1", epoch, iteration))
        for line in one.said("EVENT"):
            job, _, event = line.partition(" ")
            seq = json.loads(event)["seq"]
            with self.kept(job).open("a") as file:
                file.write(f"{event}\n")
            self.read[job] = seq

    def kept(self, job: str) -> Path:
        return self.folder / f"{job}.events"


@pytest.fixture(scope="module")
def life(job: Path, scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One vehicle: set up and upgraded, its power cut again and again, in the end settled."""
    seen = Life(tmp_path_factory.mktemp("life"))
    disk = f"oodida-{uuid.uuid4().hex[:8]}"
    chance = random.Random(SEED)
    try:
        for what in BOOTS:
            folder = job if what == "engineer" else scripts
            (folder / "read.json").write_text(json.dumps(seen.read))
            one = boot(
                folder, f"python3 upkeep.py {what}", "--guest", "uml", "--disk", disk,
                "--kill-on", "POWER MAY GO", "--kill-after", f"{chance.uniform(0, LONGEST_S):.3f}",
                timeout_s=900,
            )  # fmt: skip
            assert one.code == POWER_CUT, str(one)
            seen.note(one)
        (scripts / "read.json").write_text(json.dumps(seen.read))
        last = boot(
            scripts, "python3 upkeep.py settle", "--guest", "uml", "--disk", disk,
            "--copy-out", f"/var/lib/oodida-cloud:{seen.folder}",
        )  # fmt: skip
        assert last.code == 0, str(last)
        seen.note(last)
        yield seen
    finally:
        _remove(disk)


def _remove(disk: str) -> None:
    subprocess.run([VMLAB, "disks", "--rm", disk], check=False, capture_output=True)


def found(life: Life) -> dict[str, Any]:
    return life.boots[0].found


def test_what_a_network_held_back_is_delivered(life: Life) -> None:
    assert found(life)["network"]["held"] >= 20


@pytest.mark.parametrize("direction", ["upgrade", "downgrade"])
def test_another_version_keeps_outbox_tasks_keys_and_configuration(
    life: Life, direction: str
) -> None:
    seen = found(life)[direction]
    assert seen["waited"] >= 10
    assert seen["outbox_kept"]
    assert seen["kept"]


def test_a_broken_upgrade_is_rolled_back_by_its_own_unit(life: Life) -> None:
    for seen in found(life)["broken"].values():
        words = "version 9.9.9 did not come up healthy; 0.1.0 runs in its place (it ended with 1"
        assert seen["said"].startswith(words)
        assert seen["active"] == "previous"


def test_power_cuts_lose_nothing_committed_and_count_nothing_twice(life: Life) -> None:
    audit = Audit(life.folder / "cloud.db")
    assert life.committed
    assert sum(audit.results.values()) > len(life.read) * len(BOOTS)
    audit.check_vehicles(life.committed, destroyed=set())


def test_a_power_cut_amid_the_chunks_of_a_result_leaves_all_of_it_to_come(life: Life) -> None:
    """Its signature tells of the content by its hash, which is computed anew here."""
    (cut,) = [one for one, what in zip(life.boots, BOOTS, strict=False) if what == "large"]
    got, _, whole = cut.said("PULLED")[-1].partition(" of ")
    assert 0 < float(got) < float(whole.split()[0])

    audit = Audit(life.folder / "cloud.db")
    items = [event.item for events in audit.events.values() for event in events]
    large = [i.payload for i in items if isinstance(i, Result) and i.payload is not None]
    assert large
    for payload in large:
        body = audit.contents[payload.digest]
        assert hashlib.sha256(body).hexdigest() == payload.digest
        assert len(body) == payload.size


def test_power_cuts_change_nothing_that_the_analyst_has_read(life: Life) -> None:
    audit = Audit(life.folder / "cloud.db")
    audit.check_streams({job: life.kept(job) for job in life.read})
    audit.check_rounds()


def test_neither_state_nor_ledger_is_damaged_by_power_cuts(life: Life) -> None:
    assert life.boots[-1].found == {"quick_check": "ok", "ledger_check": "ok"}
    epochs = {epoch for _, _, epoch, _ in life.committed}
    assert len(epochs) == 1
