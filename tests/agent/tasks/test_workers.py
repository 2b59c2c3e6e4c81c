import queue
import threading
from collections.abc import Callable

from agent.sandbox import Job, Outcome
from agent.tasks.ports import Finished
from agent.tasks.workers import Workers

JOB = Job(half="onboard", method="mean")
OK = Outcome(status="ok", value=1)


def start(run: Callable[[Job], Outcome], slots: int) -> tuple[Workers, queue.Queue[Finished]]:
    done: queue.Queue[Finished] = queue.Queue()
    return Workers(run, slots, done.put), done


def test_as_many_jobs_run_at_once_as_there_are_slots() -> None:
    together = threading.Barrier(3, timeout=10)

    def run(job: Job) -> Outcome:
        del job
        together.wait()
        return OK

    workers, done = start(run, 3)
    for ticket in range(3):
        workers.submit(ticket, JOB)
    assert (workers.idle, workers.busy) == (0, 3)

    assert {done.get(timeout=10).ticket for _ in range(3)} == {0, 1, 2}
    for _ in range(3):
        workers.finished()
    assert workers.idle == 3
    workers.close(5)


def test_a_sandbox_that_fails_costs_the_iteration_not_the_slot() -> None:
    outcomes = iter([RuntimeError("no zygote"), OK])

    def run(job: Job) -> Outcome:
        del job
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    workers, done = start(run, 1)
    workers.submit(1, JOB)
    workers.submit(2, JOB)

    first, second = done.get(timeout=10), done.get(timeout=10)
    assert (first.outcome.status, first.outcome.reason) == ("refused", "sandbox")
    assert "no zygote" in first.outcome.detail
    assert second.outcome == OK
    workers.close(5)
