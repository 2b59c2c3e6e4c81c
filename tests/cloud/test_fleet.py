"""Two hundred vehicles, a cloud that is killed in between, and a peer that does not read."""

from collections.abc import Callable
from typing import Any

import pytest
import zmq

from user_lib.contract.codec import REQUEST
from user_lib.contract.messages import ListVehicles, Request, Result, RoundClosed

Make = Callable[..., Any]
FLEET = 200


@pytest.fixture
def fleet(make_cloud: Make, vehicle: Make) -> tuple[Any, list[Any]]:
    """A cloud with a lease that a slow machine can keep, and its vehicles."""
    cloud = make_cloud(lease_s=30)
    return cloud, [vehicle(f"v{i:03}", endpoint=cloud.endpoint) for i in range(FLEET)]


def everyone(vehicles: list[Any], ready: Callable[[Any], bool]) -> None:
    """Serve all vehicles in turn until each is ready; one that is not beats and resends."""
    waiting = list(vehicles)
    for _ in range(200):
        for each in waiting:
            while each.pump(0):
                pass
        waiting = [v for v in waiting if not ready(v)]
        if not waiting:
            return
        waiting[0].pump(0.2)
        for each in waiting[:20]:
            each.beat()
            for entry in list(each.outbox.values()):
                each.send(entry)
    raise AssertionError(f"{len(waiting)} vehicles still wait")


def test_two_hundred_vehicles_answer_every_round_across_a_kill(
    fleet: tuple[Any, list[Any]], analyst: Make
) -> None:
    cloud, vehicles = fleet
    ada = analyst(endpoint=cloud.endpoint)
    job = ada.submit(iterations=3, deadline_s=60).assignment_id
    everyone(vehicles, lambda v: job in v.tasks)

    for v in vehicles:
        v.answer(job, 1, {"Vehicle.Speed": 1.0})
    everyone(vehicles, lambda v: not v.outbox)
    for v in vehicles[: FLEET // 2]:
        v.answer(job, 2, {"Vehicle.Speed": 2.0})
    cloud.kill()
    cloud.restart()
    for v in vehicles[FLEET // 2 :]:
        v.answer(job, 2, {"Vehicle.Speed": 2.0})
    everyone(vehicles, lambda v: not v.outbox)
    for v in vehicles:
        v.answer(job, 3, {"Vehicle.Speed": 3.0})
    everyone(vehicles, lambda v: not v.outbox)

    items = ada.to_end(job)
    rounds = [i for i in items if isinstance(i, RoundClosed)]
    assert [r.groups[0].value for r in rounds] == [{"Vehicle.Speed": float(i)} for i in (1, 2, 3)]
    assert [len(r.groups[0].vehicles) for r in rounds] == [FLEET] * 3
    results = [(i.vehicle_id, i.iteration) for i in items if isinstance(i, Result)]
    assert len(results) == len(set(results)) == 3 * FLEET


def test_what_vehicles_missed_is_in_their_results_and_added_up_in_the_round(
    make_cloud: Make, vehicle: Make, analyst: Make
) -> None:
    cloud = make_cloud(lease_s=30)
    vehicles = [vehicle(name, endpoint=cloud.endpoint) for name in ("v1", "v2")]
    ada = analyst(endpoint=cloud.endpoint)
    job = ada.submit(iterations=1, deadline_s=60).assignment_id
    everyone(vehicles, lambda v: job in v.tasks)
    for v, away_ms in zip(vehicles, (0, 1500), strict=True):
        v.answer(job, 1, {"Vehicle.Speed": 1.0}, lost_frames=7, away_ms=away_ms)
    everyone(vehicles, lambda v: not v.outbox)

    items = ada.to_end(job)

    told = {i.vehicle_id: (i.lost_frames, i.away_ms) for i in items if isinstance(i, Result)}
    assert told == {"v1": (7, 0), "v2": (7, 1500)}
    (closed,) = [i for i in items if isinstance(i, RoundClosed)]
    assert (closed.lost_frames, closed.away_ms) == (14, 1500)


def test_a_peer_that_does_not_read_holds_back_only_itself(
    make_cloud: Make, vehicle: Make, analyst: Make
) -> None:
    cloud = make_cloud(bounds={"messages_per_peer": 10})
    kona = vehicle("kona-1", endpoint=cloud.endpoint, tags={"note": "x" * 20_000})
    ada = analyst(endpoint=cloud.endpoint)
    with zmq.Context() as context, context.socket(zmq.DEALER) as deaf:
        deaf.setsockopt(zmq.RCVHWM, 1)
        deaf.setsockopt(zmq.RCVBUF, 4096)
        deaf.setsockopt(zmq.LINGER, 0)
        deaf.connect(cloud.endpoint)
        for number in range(2000):
            ask = Request(number=number, user="deaf", ask=ListVehicles())
            deaf.send_multipart(REQUEST.encode(ask))
        _a_job_runs(kona, ada)

    assert cloud.stop() == 0
    assert "dropped.slow=" in cloud.log.read_text()


def _a_job_runs(kona: Any, ada: Any) -> None:
    job = ada.submit().assignment_id
    kona.until(lambda: job in kona.tasks)
    kona.answer(job, 1, 1.0)

    assert ada.to_end(job)[-1].state == "finished"
