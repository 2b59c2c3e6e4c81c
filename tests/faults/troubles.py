"""What happens to the processes, links, disks, clocks and keys of a campaign.

Each takes a campaign and does one bad thing to it, by its dice; whoever it kills is started again.
"""

import resource
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from tests.faults.campaign import CLOUD, GUEST, VEHICLES, Campaign
from tests.faults.damage import damage_header, damage_page
from tests.faults.message_link import Mood
from user_lib.wire.enrolment import enrol, revoke
from user_lib.wire.key_rotation import finish_rotation, start_rotation
from user_lib.wire.keys import load_keys

__all__ = ["troubles_of"]

Trouble: TypeAlias = Callable[[Campaign], None]
MOST_DAMAGED = 3
MOST_GUESTS = 3
MOST_SUBMITTED = 4


def troubles_of(campaign: Campaign) -> list[Trouble]:
    """Return what can happen to a campaign; what is there twice is as likely again."""
    found: list[Trouble] = [
        kill_agent, kill_agent, stop_agent, kill_cloud, stop_cloud, kill_reader, stop_reader,
        set_clock, set_clock, damage_outbox, damage_ledger, bad_link, bad_link, tunnel,
        tunnel_amid_content, tunnel_amid_content, let_no_file_grow, swap_code, swap_code,
        stop_pusher, kill_pusher, kill_submitter, forbid_guest, forbid_guest,
    ]  # fmt: skip
    if campaign.keys:
        found += [new_keys_of_vehicle, new_keys_of_vehicle, trust_guest_no_more]
    if campaign.disks:
        found += [fill_disk, fill_disk, kill_on_full_disk, kill_on_full_disk, turn_read_only]
        found += [turn_read_only]
    return found


def any_machine(campaign: Campaign) -> str:
    return campaign.random.choice((*VEHICLES, CLOUD))


# --- processes -----------------------------------------------------------------------------------


def kill_agent(campaign: Campaign) -> None:
    name = campaign.random.choice(VEHICLES)
    if campaign.is_up(name):
        campaign.kill(name, campaign.random.uniform(0.0, 4.0))


def kill_cloud(campaign: Campaign) -> None:
    if campaign.is_up(CLOUD):
        campaign.kill(CLOUD, campaign.random.uniform(0.0, 4.0))


def stop_agent(campaign: Campaign) -> None:
    hold(campaign, campaign.random.choice(VEHICLES))


def stop_cloud(campaign: Campaign) -> None:
    hold(campaign, CLOUD)


def hold(campaign: Campaign, name: str) -> None:
    """Stop a process for a while, longer than its lease at times."""
    if campaign.is_up(name):
        campaign.signal(name, signal.SIGSTOP)
        campaign.wait(campaign.random.uniform(0.2, 4.0))
        campaign.signal(name, signal.SIGCONT)


def kill_reader(campaign: Campaign) -> None:
    job_id = campaign.random.choice(list(campaign.readers))
    if job_id not in campaign.down:
        reader = campaign.readers[job_id]
        reader.kill()
        reader.wait()
        campaign.wait(campaign.random.uniform(0.0, 2.0))
        campaign.start(job_id)


def stop_reader(campaign: Campaign) -> None:
    """Stop the analyst amid what it reads, longer than the cloud holds a question at times."""
    stop_for_a_while(campaign, campaign.readers[campaign.random.choice(list(campaign.readers))])


def stop_for_a_while(campaign: Campaign, process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGSTOP)
        campaign.wait(campaign.random.uniform(0.2, 6.0))
        process.send_signal(signal.SIGCONT)


def swap_code(campaign: Campaign) -> None:
    push(campaign)


def stop_pusher(campaign: Campaign) -> None:
    """Stop an analyst amid a code swap."""
    pusher = push(campaign)
    campaign.wait(campaign.random.uniform(0.3, 1.5))
    stop_for_a_while(campaign, pusher)


def kill_pusher(campaign: Campaign) -> None:
    """Kill an analyst amid a code swap; nobody repeats it."""
    kill_soon(campaign, push(campaign))


def kill_submitter(campaign: Campaign) -> None:
    """Kill an analyst amid giving large parameters and submitting what names them."""
    if campaign.happened["kill_submitter"] <= MOST_SUBMITTED:
        size = campaign.random.randrange(300_000, 900_000)
        kill_soon(campaign, campaign.ask("tester", "submit", str(size)))


def push(campaign: Campaign) -> subprocess.Popen[bytes]:
    return campaign.ask("tester", "push", campaign.random.choice("abcdefgh"))


def kill_soon(campaign: Campaign, process: subprocess.Popen[bytes]) -> None:
    campaign.wait(campaign.random.uniform(0.3, 1.5))
    process.kill()
    process.wait()


# --- clocks --------------------------------------------------------------------------------------


def set_clock(campaign: Campaign) -> None:
    """Set the wall clock of a machine hours off, while it runs or is being restarted."""
    hours = campaign.random.choice([-30, -5, -1, 0, 1, 5, 30])
    (campaign.folder / f"{any_machine(campaign)}.clock").write_text(str(hours * 3600))


# --- links ---------------------------------------------------------------------------------------


def bad_link(campaign: Campaign) -> None:
    chance = campaign.random.random
    campaign.messages.mood = Mood(chance() * 0.3, chance() * 0.3, chance() * 0.5, chance() * 3)
    campaign.bytes.cuts = campaign.desk.cuts = campaign.random.choice([0.0, 0.01, 0.05])
    campaign.wait(campaign.random.uniform(1.0, 5.0))
    for link in (campaign.messages, campaign.bytes, campaign.desk):
        link.calm()


def tunnel(campaign: Campaign) -> None:
    """No link at all; long enough at times for outboxes to overflow."""
    campaign.bytes.closed = True
    campaign.wait(campaign.random.uniform(1.0, 12.0))
    campaign.bytes.calm()


def tunnel_amid_content(campaign: Campaign) -> None:
    """Close the link amid a content, kill one end or none there, and go on outside."""
    campaign.bytes.closes_after = campaign.random.randrange(10_000, 1_500_000)
    campaign.wait(campaign.random.uniform(1.0, 5.0))
    name = campaign.random.choice([*VEHICLES, CLOUD, ""])
    if name and campaign.is_up(name):
        campaign.kill(name)
        campaign.wait(campaign.random.uniform(0.0, 1.0))
    campaign.bytes.calm()


# --- disks ---------------------------------------------------------------------------------------


def let_no_file_grow(campaign: Campaign) -> None:
    """Let no file of a process grow for a while."""
    name = any_machine(campaign)
    if not campaign.is_up(name):
        return
    pid, limits = campaign.local.pid(name), resource.RLIM_INFINITY
    most = campaign.random.choice([200_000, 0])  # 0: nothing at all can be written
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, limits))
    campaign.wait(campaign.random.uniform(0.5, 3.0))
    if campaign.local.is_running(name):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limits, limits))


def fill_disk(campaign: Campaign) -> None:
    """Fill a disk, to the last byte or so that it is large contents that fill it."""
    name = any_machine(campaign)
    if campaign.is_up(name):
        fill(campaign, name)
        campaign.wait(campaign.random.uniform(0.5, 5.0))
        campaign.check_runs(name)
        campaign.disks[name].empty()


def kill_on_full_disk(campaign: Campaign) -> None:
    """Kill a process on its full disk, perhaps amid a chunk, and start it there, if it will."""
    name = any_machine(campaign)
    if not campaign.is_up(name):
        return
    fill(campaign, name)
    campaign.wait(campaign.random.uniform(0.1, 2.0))
    campaign.kill(name, down_s=3600.0)
    campaign.start(name)
    campaign.wait(campaign.random.uniform(0.5, 2.0))
    campaign.disks[name].empty()
    if not campaign.local.is_running(name):
        campaign.happened["refused_full_disk"] += 1
        campaign.start(name)


def fill(campaign: Campaign, name: str) -> None:
    campaign.disks[name].fill(campaign.random.choice([0, 0, 50_000, 300_000, 1_000_000]))


def turn_read_only(campaign: Campaign) -> None:
    """Let a disk turn read-only under a running process, which stays; then repair and reboot."""
    name = any_machine(campaign)
    if not campaign.is_up(name):
        return
    campaign.disks[name].fail()
    campaign.wait(campaign.random.uniform(0.5, 4.0))
    campaign.check_runs(name)
    campaign.local.kill(name)
    campaign.disks[name].repair()
    campaign.kill(name)


def damage_outbox(campaign: Campaign) -> None:
    """Cut a vehicle's power and damage a page of its state: it begins a new epoch."""
    name = campaign.random.choice(VEHICLES)
    if not campaign.is_up(name) or campaign.happened["damage_outbox"] > MOST_DAMAGED:
        return
    campaign.kill(name)
    campaign.destroy(name)
    damage_page(campaign.state_of(name), campaign.random)


def damage_ledger(campaign: Campaign) -> None:
    """Cut the cloud's power and damage its ledger: it must not start before that is mended."""
    if not campaign.is_up(CLOUD):
        return
    campaign.kill(CLOUD)
    damage = campaign.random.choice([damage_header, damage_page])
    kept = {p: p.read_bytes() for p in campaign.ledger.parent.glob(f"{campaign.ledger.name}*")}
    damage(campaign.ledger, campaign.random)
    if is_damaged(campaign.ledger):
        assert not campaign.start(CLOUD), "the cloud started with a damaged ledger"
        campaign.happened["refused_damaged_ledger"] += 1
    for path in campaign.ledger.parent.glob(f"{campaign.ledger.name}*"):
        path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    assert campaign.start(CLOUD), campaign.local.log_tail(CLOUD)


def is_damaged(path: Path) -> bool:
    """Whether the damage hit something that is in use, which a page that was free is not."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            return bool(connection.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)])
    except sqlite3.DatabaseError:
        return True


# --- rules ---------------------------------------------------------------------------------------


def forbid_guest(campaign: Campaign) -> None:
    """Let an owner rule an analyst out, amid results of theirs, and allow them again later."""
    name = campaign.random.choice(VEHICLES)
    if not campaign.is_up(name) or campaign.happened["forbid_guest"] > MOST_GUESTS:
        return
    campaign.ask(GUEST, "submit", "150000")
    campaign.wait(campaign.random.uniform(2.0, 6.0))
    campaign.bytes.closed = campaign.random.random() < 0.5
    campaign.wait(campaign.random.uniform(0.0, 6.0))
    reload = campaign.random.random() < 0.5  # or begin again by the new rules
    for rules in ({"analysts": [{"rule": "others", "who": ["tester"]}]}, {"otherwise": "raw"}):
        campaign.rule(name, **rules)
        if campaign.is_up(name):
            if reload:
                campaign.signal(name, signal.SIGHUP)
            else:
                campaign.kill(name)
        campaign.wait(campaign.random.uniform(0.5, 3.0))
        campaign.bytes.calm()


# --- keys ----------------------------------------------------------------------------------------


def new_keys_of_vehicle(campaign: Campaign) -> None:
    """Revoke a vehicle's key under its live connection; some time later it gets another."""
    name = campaign.random.choice(VEHICLES)
    keys = campaign.local.keys
    if not campaign.is_up(name) or keys is None:
        return
    own, authorized = Path(keys.for_vehicle(name)["own"]), Path(keys.for_cloud()["authorized"])
    revoke(load_keys(own).card.fingerprint, authorized)
    campaign.wait(campaign.random.uniform(0.5, 4.0))
    if campaign.local.is_running(name):
        campaign.local.kill(name)
    start_rotation(own)
    enrol(finish_rotation(own)[0], authorized)
    campaign.pin(name)
    campaign.kill(name)


def trust_guest_no_more(campaign: Campaign) -> None:
    """Let the vehicles' owners take their trust from an analyst, who comes back with other keys."""
    keys = campaign.local.keys
    if keys is None or campaign.happened["trust_guest_no_more"] > MOST_GUESTS:
        return
    own = Path(keys.for_user(GUEST)["own"])
    analysts = Path(keys.for_vehicle(VEHICLES[0])["analysts"])
    authorized = Path(keys.for_cloud()["authorized"])
    revoke(GUEST, analysts)
    campaign.wait(campaign.random.uniform(0.5, 2.0))
    revoke(GUEST, authorized)
    start_rotation(own)
    card, _ = finish_rotation(own)
    enrol(card, authorized)
    enrol(card, analysts)
    campaign.ask(GUEST, "submit", "200000")
