import io
from typing import Any

from user_lib.contract.messages import Event
from user_lib.demo.scene import LINES_KEPT, JobSeen, Scene
from user_lib.demo.view import LineView


def scene_with(job_id: str) -> Scene:
    scene = Scene()
    scene.jobs[job_id] = JobSeen("custom", ("v1",))
    return scene


def test_results_are_counted_by_the_version_that_made_them(make: Any) -> None:
    scene = scene_with("job-1")
    for seq, version in enumerate(["a" * 64, "a" * 64, "b" * 64], start=1):
        item = make.result("v1", seq, 1.0, code_version=version)
        scene.see_event("job-1", Event(seq=seq, item=item))

    job = scene.jobs["job-1"]
    assert (job.results, job.last_seq) == (3, 3)
    assert job.by_version == {"a" * 64: 2, "b" * 64: 1}


def test_samples_are_told_by_their_number(make: Any) -> None:
    scene = scene_with("job-1")
    value = {"Vehicle.Speed": {"times_ns": [1, 2], "values": [70.0, 72.0], "of": 100}}
    scene.see_event("job-1", Event(seq=1, item=make.result("v1", 1, value)))

    assert scene.new_lines() == [
        "   v1        ▶ cloud custom   1: Vehicle.Speed 2 of 100 samples, up to 72.0"
    ]
    assert scene.new_lines() == []


def test_lines_are_told_once_and_the_oldest_are_forgotten() -> None:
    scene = Scene()
    scene.tell("first")
    assert scene.new_lines() == ["first"]
    for number in range(LINES_KEPT):
        scene.tell(str(number))

    assert scene.new_lines() == [str(n) for n in range(LINES_KEPT)]
    assert scene.board(2).lines == [str(LINES_KEPT - 2), str(LINES_KEPT - 1)]


def test_plain_lines_are_written_once() -> None:
    scene, out = Scene(), io.StringIO()
    scene.begin("A step")
    with LineView(out) as view:
        view.draw(scene)
        view.draw(scene)

    assert out.getvalue() == "── A step\n"
