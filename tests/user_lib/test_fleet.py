from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from user_lib.contract.assignment import Assignment
from user_lib.contract.errors import AssignmentError, ConfigError, Rejected
from user_lib.contract.messages import (
    Answer,
    Ask,
    CodeSlot,
    CodeSlots,
    CodeState,
    CodeStatus,
    Ping,
    Pong,
    PushCode,
    Submit,
)
from user_lib.contract.states import JobState
from user_lib.fleet import connect
from user_lib.job import JobFailed

GOOD = "def custom(xs):\n    return 1\n"


def test_vehicles_read_as_a_table(fleet: Any) -> None:
    vehicles = fleet.vehicles()

    assert [v.vehicle_id for v in vehicles] == ["compact-1", "wagon-1"]
    assert repr(vehicles).splitlines()[1].startswith("compact-1  online")


def test_an_assignment_is_given_by_keys_a_mapping_or_a_file(
    fleet: Any, cloud: Any, make: Any, tmp_path: Path
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("signals: [Vehicle.Speed]\nonboard: mean\nwindow: {samples: 10}\n")

    fleet.assign(**make.spec)
    fleet.assign(make.spec, iterations=7)
    fleet.assign(path, offboard="sum")

    first, second, third = (a.spec for a in cloud.asks(Submit))
    assert first.iterations == 3
    assert second.iterations == 7
    assert (third.onboard, third.offboard) == ("mean", "sum")
    assert len({a.token for a in cloud.asks(Submit)}) == 3


def test_submitting_takes_one_question(fleet: Any, cloud: Any, make: Any) -> None:
    before = len(cloud.asked)

    job = fleet.assign(make.spec)

    assert [type(request.ask) for request in cloud.asked[before:]] == [Submit]
    assert (job.id, job.vehicles, job.spec.iterations) == ("job-1", ("compact-1", "wagon-1"), 3)


def _deep() -> Any:
    value: Any = 0
    for _ in range(5000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({None: 0.0, "a": 1.0}, r"onboard_params\.weights: has the key None; keys are strings"),
        ({"a": [b"x"]}, r"onboard_params\.weights\.a\[0\]: b'x' is of type bytes; allowed are"),
        ({0: np.ones(3)}, r"onboard_params\.weights: has the key 0;"),
        (_deep(), r"nested deeper than 32 levels"),
    ],
)
def test_params_that_are_not_json_are_refused_before_anything_is_sent(
    fleet: Any, cloud: Any, make: Any, value: Any, words: str
) -> None:
    params = {"onboard_params": {"weights": value}}
    by_hand = msgspec.convert({**make.spec, **params}, Assignment)
    for spec in ({**make.spec, **params}, by_hand):
        with pytest.raises(AssignmentError, match=words):
            fleet.assign(spec)

    assert not cloud.asks(Submit)


def test_a_mistake_is_refused_before_anything_is_sent(fleet: Any, cloud: Any, make: Any) -> None:
    with pytest.raises(AssignmentError, match=r"onboard: no method 'meen'; did you mean mean"):
        fleet.assign(make.spec, onboard="meen")
    with pytest.raises(AssignmentError, match=r"onboard_params\.abov: no such param"):
        fleet.assign(make.spec, onboard="threshold", onboard_params={"abov": 3})
    with pytest.raises(ConfigError, match="cannot be read"):
        fleet.assign("nowhere.yaml")

    assert cloud.asks(Submit) == []


def test_an_unknown_job_is_refused_with_the_clouds_words(fleet: Any) -> None:
    with pytest.raises(Rejected, match="no such job") as caught:
        fleet.job("job-2")

    assert caught.value.reason == "unknown_job"


def test_rounds_come_live_until_the_job_ends(fleet: Any) -> None:
    rounds = list(fleet.job("job-1").rounds())

    assert [r.number for r in rounds] == [1, 2]
    assert rounds[1].failed == {"wagon-1": "memory"}
    assert rounds[1].value == {"Vehicle.Speed": 70.0}


def test_results_and_columns_hold_what_came_so_far(fleet: Any) -> None:
    job = fleet.job("job-1")

    assert [r.vehicle for r in job.results()] == ["compact-1", "wagon-1", "compact-1", "wagon-1"]
    assert job.to_numpy()["Vehicle.Speed"].tolist() == [60.0, 62.0, 70.0]
    assert job.to_numpy("rounds")["Vehicle.Speed"].tolist() == [61.0, 70.0]
    assert [r.iteration for r in job.stream()] == [1, 1, 2, 2]


def test_wait_returns_the_final_state_and_shows_progress(fleet: Any, capsys: Any) -> None:
    assert fleet.job("job-1").wait(progress=True) is JobState.FINISHED

    assert "average: finished, 2 of 3 rounds, 4 results" in capsys.readouterr().err


def test_a_failed_job_can_be_raised(scripted: Any, play: Any, make: Any) -> None:
    with (
        scripted(play(make.events, end=JobState.FAILED)) as cloud,
        connect(cloud.endpoint, "ada", insecure=True) as fleet,
    ):
        job = fleet.job("job-1")
        assert job.wait() is JobState.FAILED
        with pytest.raises(JobFailed, match="job job-1 failed"):
            job.raise_for_state()


def test_a_job_that_does_not_end_in_time_says_what_it_waits_for(
    scripted: Any, play: Any, make: Any
) -> None:
    class Endless(play):
        def _read(self, ask: Any) -> Any:
            events = super()._read(ask)
            return type(events)(
                events=events.events, next_seq=events.next_seq, state=JobState.RUNNING, ended=False
            )

    with (
        scripted(Endless(make.events, end=JobState.RUNNING)) as cloud,
        connect(cloud.endpoint, "ada", insecure=True) as fleet,
        pytest.raises(TimeoutError, match="52 of 100 samples"),
    ):
        fleet.job("job-1").wait(timeout_s=0.05)


def test_explain_says_where_each_vehicle_stands(scripted: Any, play: Any, make: Any) -> None:
    with (
        scripted(play(make.events, end=JobState.RUNNING)) as cloud,
        connect(cloud.endpoint, "ada", insecure=True) as fleet,
    ):
        text = fleet.job("job-1").explain()

    assert "gathers its window" in text
    assert "52 of 100 samples of Vehicle.Speed" in text
    assert "OFFLINE" in text
    assert "has not answered yet" in text


def test_saved_events_are_json_lines(fleet: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"

    assert fleet.job("job-1").save(path) == 6
    lines = path.read_text().splitlines()
    assert len(lines) == 6
    assert '"seq":1,"type":"result"' in lines[0]
    assert '"lost_frames":0' in lines[0]
    assert list(tmp_path.iterdir()) == [path]


class Swapping:
    """A cloud whose second vehicle arms the code only at the second look."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, ask: Ask) -> Answer | None:
        match ask:
            case Ping():
                return Pong(cloud_version="1", vehicles_online=2)
            case PushCode():
                return self.slot(("armed", 10.0), ("pending", None))
            case CodeStatus():
                self.looks += 1
                last = ("pending", None) if self.looks < 2 else ("armed", 30.0)
                slot = self.slot(("armed", 10.0), last)
                empty = CodeSlot(side="offboard", generation=0, version="")
                return CodeSlots(onboard=slot, offboard=empty)
        return None

    @staticmethod
    def slot(*states: Any) -> CodeSlot:
        return CodeSlot(
            side="onboard",
            generation=4,
            version="f" * 64,
            vehicles=tuple(
                CodeState(vehicle_id=f"v{i}", version="f" * 64, state=state, swap_ms=swap_ms)
                for i, (state, swap_ms) in enumerate(states)
            ),
        )


def test_update_code_waits_until_every_vehicle_has_answered(scripted: Any) -> None:
    script = Swapping()
    with scripted(script) as cloud, connect(cloud.endpoint, "ada", insecure=True) as fleet:
        update = fleet.update_code(GOOD, vehicles=["v0"])

    push = cloud.asks(PushCode)[0]
    assert (push.source, push.side, push.vehicles) == (GOOD, "onboard", ("v0",))
    assert script.looks == 2
    assert update.pending == ()
    assert update.latency.vehicles == 2
    assert update.latency.armed_p50_ms == pytest.approx(20.0 + update.call_ms)
    assert "armed on 2 within" in repr(update)


def test_update_code_gives_up_in_time_and_names_who_is_pending(scripted: Any) -> None:
    class Never(Swapping):
        def __call__(self, ask: Ask) -> Answer | None:
            self.looks = 0
            return super().__call__(ask)

    with scripted(Never()) as cloud, connect(cloud.endpoint, "ada", insecure=True) as fleet:
        assert fleet.update_code(GOOD, timeout_s=0.05).pending == ("v1",)
        assert fleet.update_code(GOOD, wait=False).pending == ("v1",)


def test_the_published_names_submit_and_swap(
    scripted: Any, cloud: Any, make: Any, monkeypatch: Any
) -> None:
    import user_lib.code_update as c
    import user_lib.oodida as o

    monkeypatch.setenv("OODIDA_CLOUD", cloud.endpoint)
    monkeypatch.setenv("OODIDA_INSECURE", "1")
    assert o.createAssignment is o.create_assignment
    assert o.createAssignment(make.spec).id == "job-1"

    with scripted(Swapping()) as swapping:
        monkeypatch.setenv("OODIDA_CLOUD", swapping.endpoint)
        assert c.code_update(GOOD).generation == 4


@pytest.mark.parametrize("follow", ["rounds", "stream"])
def test_following_a_job_that_failed_ends_with_why(
    scripted: Any, play: Any, make: Any, follow: str
) -> None:
    seen: list[Any] = []
    with (
        scripted(play(make.events, end=JobState.FAILED)) as cloud,
        connect(cloud.endpoint, "ada", insecure=True) as fleet,
        pytest.raises(JobFailed, match="job job-1 failed"),
    ):
        seen.extend(getattr(fleet.job("job-1"), follow)())

    assert seen


def test_a_job_that_was_followed_to_its_end_shows_that_end(
    scripted: Any, play: Any, make: Any
) -> None:
    script = play(make.events, end=JobState.RUNNING)
    with scripted(script) as cloud, connect(cloud.endpoint, "ada", insecure=True) as fleet:
        job = fleet.job("job-1")
        assert "running" in repr(job)
        script.end = JobState.FINISHED
        list(job.rounds())

        assert "finished" in repr(job)
