"""The real cloud over real sockets: assignments out, results in, rounds closed, events read."""

from typing import Any

from user_lib.contract.messages import JobChanged, Result, RoundClosed
from user_lib.contract.states import JobState, RoundState


def of(kind: type, items: list[Any]) -> list[Any]:
    return [i for i in items if isinstance(i, kind)]


def test_an_assignment_travels_to_the_vehicles_and_its_rounds_come_back(vehicle, analyst) -> None:
    kona, leaf = vehicle("kona-1"), vehicle("leaf-1")
    ada = analyst()
    job = ada.submit(iterations=2).assignment_id

    for each in (kona, leaf):
        each.until(lambda each=each: job in each.tasks)
    for iteration in (1, 2):
        kona.answer(job, iteration, {"Vehicle.Speed": 10.0 * iteration})
        leaf.answer(job, iteration, {"Vehicle.Speed": 30.0 * iteration})
    kona.settle()
    leaf.settle()
    items = ada.to_end(job)

    rounds = of(RoundClosed, items)
    print(*items,sep='\n')
    assert [(r.round, r.state, r.missing) for r in rounds] == [
        (1, RoundState.COMPLETE, ()),
        (2, RoundState.COMPLETE, ()),
    ]
    assert [r.groups[0].value for r in rounds] == [{"Vehicle.Speed": 20.0}, {"Vehicle.Speed": 40.0}]
    assert [r.groups[0].vehicles for r in rounds] == [("kona-1", "leaf-1")] * 2
    assert {r.vehicle_id for r in of(Result, items)} == {"kona-1", "leaf-1"}
    assert of(JobChanged, items)[-1].state is JobState.FINISHED
