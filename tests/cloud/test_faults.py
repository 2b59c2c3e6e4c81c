"""Faults of the cloud's own machine: a full disk, off-board code that hangs, a kill meanwhile."""

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from user_lib.contract.code import version_of
from user_lib.contract.messages import (
    MAX_RUNS,
    CodeStatus,
    Deliver,
    Explain,
    JobChanged,
    Losses,
    Ping,
    Pong,
    PushCode,
    Result,
    RollBack,
    RoundClosed,
)
from user_lib.contract.states import JobState, TaskState

Make = Callable[..., Any]
HANGS = "def custom(data, params):\n    while True:\n        pass\n"
SLOW = "import time\ndef custom(data, params):\n    time.sleep(1)\n    return sum(data.values())\n"
FAST = "def custom(data, params):\n    return 1\n"


def of(kind: type, items: list[Any]) -> list[Any]:
    return [i for i in items if isinstance(i, kind)]


def again(vehicle: Any) -> bool:
    """Send the outbox again, as an agent does; never done by itself."""
    for entry in list(vehicle.outbox.values()):
        vehicle.send(entry)
    return False


def test_a_full_disk_acknowledges_nothing_and_loses_nothing(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations=2).assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 1.0)
    kona.settle()

    size = cloud.ledger.with_name("cloud.db-wal").stat().st_size
    hard = resource.RLIM_INFINITY
    resource.prlimit(cloud.process.pid, resource.RLIMIT_FSIZE, (size, hard))
    kona.answer(job, 2, 2.0, prints="x" * 100_000)
    kona.until(lambda: "tick forgotten" in cloud.log.read_text())
    assert kona.outbox
    resource.prlimit(cloud.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    kona.until(lambda: not kona.outbox or again(kona))

    items = ada.to_end(job)
    assert [r.iteration for r in of(Result, items)] == [1, 2]
    assert [r.groups[0].value for r in of(RoundClosed, items)] == [1.0, 2.0]
    assert items[-1].state is JobState.FINISHED


def test_a_sandbox_that_hangs_is_replaced_and_the_round_gets_its_value(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations=4).assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 1.0)
    ada.read(job, lambda events: any(isinstance(e.item, RoundClosed) for e in events))
    for zygote in parents_below(cloud.process.pid):
        os.kill(zygote, signal.SIGSTOP)

    for i in (2, 3, 4):
        kona.answer(job, i, float(i))
    rounds = of(RoundClosed, ada.to_end(job))
    assert [r.groups[0].value for r in rounds] == [1.0, 2.0, 3.0, 4.0]
    assert "zygote ended or hangs" in cloud.log.read_text()


def children_of(pid: int) -> list[int]:
    below = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in below for child in each.read_text().split()]


def parents_below(pid: int) -> list[int]:
    """Return the processes below ``pid`` that have children: the zygote, never a worker."""
    found = [child for child in children_of(pid) if children_of(child)]
    return found + [grandchild for child in found for grandchild in parents_below(child)]


def test_results_that_a_vehicle_had_to_drop_are_told_and_counted_once(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    job = ada.submit(iterations=3, quorum=0.5, deadline_s=300).assignment_id
    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)
    losses = Losses(assignment_id=job, epoch=kona.hello.epoch, iterations=((1, 2),))

    for i in (1, 2, 3):
        leaf.answer(job, i, float(i))
    leaf.settle()
    kona.deliver(losses)
    kona.settle()
    cloud.kill()
    cloud.restart()
    kona.deliver(losses)
    kona.answer(job, 3, 5.0)
    kona.settle()

    items = ada.to_end(job)
    (told,) = [i for i in of(JobChanged, items) if i.reason == "results_lost"]
    assert "iterations 1 to 2" in told.detail
    assert [(r.missing, r.groups[0].value) for r in of(RoundClosed, items)] == [
        (("kona-1",), 1.0),
        (("kona-1",), 2.0),
        ((), 4.0),
    ]
    members = {m.vehicle_id: m for m in ada.ask(Explain(assignment_id=job)).members}
    assert {v: m.lost_results for v, m in members.items()} == {"kona-1": 2, "leaf-1": 0}


def test_a_record_of_losses_that_no_agent_would_write_is_refused_and_changes_nothing(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    job = ada.submit(iterations="forever").assignment_id
    kona.until(lambda: job in kona.tasks)
    runs = tuple((i, i) for i in range(1, 2 * MAX_RUNS + 2, 2))
    kona.send(
        Deliver(seq=1, item=Losses(assignment_id=job, epoch=kona.hello.epoch, iterations=runs))
    )
    kona.until(lambda: "malformed message" in cloud.log.read_text())

    kona.answer(job, 1, 1.0)
    kona.settle()

    (member,) = ada.ask(Explain(assignment_id=job)).members
    assert (member.lost_results, member.results) == (0, 1)
    assert f"at most {MAX_RUNS} are allowed" in cloud.log.read_text()


def test_a_vehicle_that_tells_of_losses_without_end_is_slowed_and_others_are_served(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    job = ada.submit(iterations="forever").assignment_id
    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)
    for seq in range(1, 201):
        at = 2 * MAX_RUNS * seq
        runs = tuple((i, i) for i in range(at, at + 2 * MAX_RUNS, 2))
        losses = Losses(assignment_id=job, epoch=kona.hello.epoch, iterations=runs)
        kona.outbox[seq] = Deliver(seq=seq, item=losses)
        kona.send(kona.outbox[seq])
    leaf.answer(job, 1, 1.0)
    leaf.settle()
    kona.until(lambda: "runs of lost iterations than" in cloud.log.read_text())

    assert isinstance(ada.ask(Ping()), Pong)
    kona.until(lambda: len(kona.outbox) < 100)
    acknowledged = 200 - len(kona.outbox)
    members = {m.vehicle_id: m for m in ada.ask(Explain(assignment_id=job)).members}
    assert MAX_RUNS * acknowledged <= members["kona-1"].lost_results < MAX_RUNS * 200


def test_off_board_code_that_hangs_holds_back_neither_router_nor_others(
    vehicle: Make, analyst: Make
) -> None:
    kona, ada, bob = vehicle("kona-1"), analyst("ada"), analyst("bob")
    ada.ask(PushCode(side="offboard", source=HANGS, token="t"))
    stuck = ada.submit(offboard="custom", limits={"wall_s": 1.0, "cpu_s": 30.0}).assignment_id
    quick = bob.submit().assignment_id
    for job in (stuck, quick):
        kona.until(lambda job=job: job in kona.tasks)
        kona.answer(job, 1, 4.0)

    assert of(RoundClosed, bob.to_end(quick))[0].groups[0].value == 4.0
    assert isinstance(bob.ask(Ping()), Pong)
    (group,) = of(RoundClosed, ada.to_end(stuck))[0].groups
    assert group.value is None
    assert group.error.startswith("wall")


def test_the_cloud_ends_cleanly_while_off_board_code_hangs(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    ada.ask(PushCode(side="offboard", source=HANGS, token="t"))
    job = ada.submit(offboard="custom", limits={"wall_s": 25.0, "cpu_s": 25.0}).assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 1.0)
    kona.settle()

    assert cloud.stop() == 0
    assert cloud.log.read_text().rstrip().endswith("stopped")


def test_a_round_that_was_being_aggregated_when_the_cloud_was_killed_gets_its_value(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    ada.ask(PushCode(side="offboard", source=SLOW, token="t"))
    job = ada.submit(offboard="custom", iterations=2).assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 1.0)
    kona.answer(job, 2, 2.0)
    kona.settle()

    cloud.kill()
    cloud.restart()

    rounds = of(RoundClosed, ada.to_end(job))
    assert [(r.round, r.groups[0].value) for r in rounds] == [(1, 1.0), (2, 2.0)]


def test_what_a_vehicle_still_owes_after_its_tasks_end_is_kept_across_a_restart(
    cloud: Any, vehicle: Make, analyst: Make
) -> None:
    kona, leaf, ada = vehicle("kona-1"), vehicle("leaf-1"), analyst()
    job = ada.submit(iterations="forever", deadline_s=60).assignment_id
    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)
    owed = kona.result(job, 1, 1.0)
    kona.end(job, TaskState.FINISHED, reason="duration")
    kona.settle()
    cloud.kill()
    cloud.restart()

    kona.deliver(owed)
    kona.until(lambda: not kona.outbox or again(kona))

    results = of(Result, [e.item for e in ada.events(job)])
    assert [(r.vehicle_id, r.late) for r in results] == [("kona-1", True)]


def test_a_roll_back_on_a_vehicle_is_known_even_when_its_report_was_lost(
    vehicle: Make, analyst: Make
) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    ada.ask(PushCode(side="onboard", source=FAST, token="1"))
    ada.ask(PushCode(side="onboard", source=HANGS, token="2"))
    kona.until(lambda: kona.code.get("ada") and kona.code["ada"].generation == 2)
    job = ada.submit(onboard="custom").assignment_id
    kona.until(lambda: job in kona.tasks)

    kona.answer(
        job,
        1,
        1,
        code_version=version_of(FAST),
        generation=1,
        rolled_back=RollBack(failed_version=version_of(HANGS), detail="wall: 10 s reached"),
    )
    ada.to_end(job)

    (state,) = ada.ask(CodeStatus()).onboard.vehicles
    assert (state.state, state.detail) == ("rolled_back", "wall: 10 s reached")


def test_a_report_that_was_lost_is_given_again(vehicle: Make, analyst: Make) -> None:
    kona, ada = vehicle("kona-1"), analyst()
    kona.reports_code = False
    ada.ask(PushCode(side="onboard", source=FAST, token="1"))
    kona.until(lambda: "ada" in kona.code)

    kona.reports_code = True
    kona.until(lambda: ada.ask(CodeStatus()).onboard.vehicles[0].swap_ms)

    assert ada.ask(CodeStatus()).onboard.vehicles[0].state == "armed"


def test_a_cloud_that_stood_still_holds_it_against_nobody(
    make_cloud: Make, vehicle: Make, analyst: Make
) -> None:
    cloud = make_cloud(lease_s=1.5)
    cars = [vehicle(f"v{i}", endpoint=cloud.endpoint) for i in range(3)]
    ada = analyst(endpoint=cloud.endpoint)
    job = ada.submit(iterations=1, deadline_s=1.0, feedback=True).assignment_id
    for car in cars:
        car.until(lambda car=car: job in car.tasks)
    cars[0].answer(job, 1, 1.0)
    cars[0].until(lambda: not cars[0].outbox)

    os.kill(cloud.process.pid, signal.SIGSTOP)
    for car in cars[1:]:
        car.answer(job, 1, 1.0)
    time.sleep(2.5)  # longer than lease and deadline
    os.kill(cloud.process.pid, signal.SIGCONT)

    items = ada.to_end(job)
    (closed,) = [i for i in items if type(i).__name__ == "RoundClosed"]
    assert (closed.state, closed.missing) == ("complete", ())
    assert not [i for i in items if getattr(i, "late", False)]
