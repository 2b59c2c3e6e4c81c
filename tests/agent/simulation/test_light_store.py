"""What a simulated vehicle keeps in memory obeys the laws of the store that real ones have."""

from collections import Counter

from msgspec.structs import replace

from agent.simulation.store import MAX_ENTRIES, LightStore
from agent.store import Acknowledge, EndTask, Enqueue, Retract
from user_lib.contract.content import content_of
from user_lib.contract.messages import MAX_RUNS, Losses, Result, TaskEnded
from user_lib.contract.states import TaskState


def result(iteration: int) -> Result:
    return Result(
        assignment_id="job-1",
        vehicle_id="sim-1",
        epoch="e",
        iteration=iteration,
        status="ok",
        method="mean",
        dbc_hash="d",
        window_start_ns=0,
        window_stop_ns=1,
        agent_version="1",
        created_ns=0,
    )


def test_a_full_outbox_tells_of_each_iteration_once_and_sends_what_may_be_on_its_way() -> None:
    store = LightStore()
    last = MAX_ENTRIES + 500
    for iteration in range(1, last + 1):
        store.apply([Enqueue(result(iteration), 5)])
        if iteration == MAX_ENTRIES:
            on_their_way = [entry.seq for entry in store.deliverable()]
    assert store.entries <= MAX_ENTRIES
    assert [entry.seq for entry in store.deliverable()] == on_their_way

    told: Counter[int] = Counter()
    while entries := store.deliverable():
        for entry in entries:
            match store.load(entry.seq):
                case Result(iteration=iteration):
                    told[iteration] += 1
                case Losses(iterations=runs):
                    told.update(i for first, end in runs for i in range(first, end + 1))
        store.apply([Acknowledge(tuple(entry.seq for entry in entries))])

    assert told == dict.fromkeys(range(1, last + 1), 1)
    assert store.dropped_results > 500
    assert store.entries == 0


def test_a_record_has_no_more_runs_than_the_cloud_takes() -> None:
    store = LightStore()
    odd = range(1, 2 * MAX_RUNS + 100, 2)
    for i in odd:
        store.apply([Enqueue(result(i), 5)])
    store.apply([Retract("job-1", "rule cabin")])

    records = [store.load(entry.seq) for entry in store.deliverable()]
    runs = [r.iterations for r in records if isinstance(r, Losses)]
    assert [len(r) for r in runs] == [MAX_RUNS, len(odd) - MAX_RUNS]
    assert [first for record in runs for first, _ in record] == list(odd)


def test_what_a_rule_keeps_here_is_told_as_lost_wherever_it_was_sent() -> None:
    store = LightStore()
    store.apply([Enqueue(result(iteration), 5) for iteration in (1, 2, 3)])
    sent, *_ = store.deliverable()
    store.sending(sent.seq)
    rule = Retract("job-1", "rule cabin")
    assert store.forbidden(rule) == 3

    store.apply([rule, Acknowledge((sent.seq,))])

    (record,) = (store.load(entry.seq) for entry in store.deliverable())
    assert isinstance(record, Losses)
    assert (record.iterations, record.reason) == (((1, 3),), "rule cabin")


def test_an_ended_task_is_remembered_and_its_end_waits_to_be_told() -> None:
    store = LightStore()
    ended = TaskEnded(
        assignment_id="job-1", vehicle_id="sim-1", epoch="e", state=TaskState.FINISHED
    )

    store.apply([EndTask(ended, 5)])

    assert store.has_ended("job-1")
    assert not store.has_ended("job-2")
    (entry,) = store.deliverable()
    assert store.load(entry.seq) == ended


def test_a_content_is_kept_until_its_result_is_acknowledged_and_the_end_waits_for_it() -> None:
    store, body = LightStore(), b"large" * 1000
    content = content_of(body)
    ended = TaskEnded(
        assignment_id="job-1", vehicle_id="sim-1", epoch="e", state=TaskState.FINISHED
    )

    store.apply([Enqueue(replace(result(1), payload=content), 5, body), EndTask(ended, 5)])

    assert store.owes(content.digest)
    assert store.contents.read(content.digest) == body
    (first,) = store.deliverable()
    store.apply([Acknowledge((first.seq,))])
    assert not store.owes(content.digest)
    assert not store.contents.listed()
    (last,) = store.deliverable()
    assert store.load(last.seq) == ended
    store.close()


def test_an_end_loses_its_words_to_a_rule_too() -> None:
    store = LightStore()
    ended = TaskEnded(
        assignment_id="job-1", epoch="e", state=TaskState.FAILED, reason="code_failed", detail="[7]"
    )
    store.apply([EndTask(ended, 5)])
    rule = Retract("job-1", "rule cabin")
    assert store.forbidden_words(rule)

    store.apply([rule])

    (told,) = (store.load(entry.seq) for entry in store.deliverable())
    assert isinstance(told, TaskEnded)
    assert told.detail == "rule cabin keeps the words on the vehicle"
