import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import dbc
from user_lib.cli.entry import build_parser
from user_lib.contract.messages import (
    Cancel,
    Cancelled,
    Event,
    Explain,
    Explanation,
    JobChanged,
    Jobs,
    ListJobs,
    Pong,
    ReadEvents,
    Rejection,
    Submit,
    Vehicles,
)
from user_lib.contract.states import JobState

SPEC = """\
name: average
signals: [Vehicle.Speed]
window: {samples: 100}
onboard: mean
offboard: mean
iterations: 2
"""
GOOD = "def custom(xs):\n    print('seen', len(xs))\n    return float(sum(xs))\n"


def command(*args: object, cloud: str = "tcp://127.0.0.1:9") -> list[str]:
    return [sys.executable, "-m", "user_lib.cli", *map(str, args)]


def environ(cloud: str) -> dict[str, str]:
    return {
        **os.environ,
        "OODIDA_CLOUD": cloud,
        "OODIDA_USER": "ada",
        "OODIDA_INSECURE": "1",
        "XDG_CONFIG_HOME": "/none",
    }


def oodida(*args: object, cloud: str = "tcp://127.0.0.1:9") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), capture_output=True, text=True, env=environ(cloud), timeout=60
    )


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "demo", "vehicles", "signals", "methods", "schema", "submit", "jobs", "results", "cancel",
        "explain", "code push", "code status", "code rollback", "code remove", "code try", "decode",
        "replay", "doctor",
    ],
)  # fmt: skip
def test_every_command_has_help_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        build_parser().parse_args([*name.split(), "--help"])

    text = capsys.readouterr().out
    assert "--json" in text
    assert f"example:\n  oodida {name}" in text


def test_the_command_itself_tells_its_exit_codes() -> None:
    done = oodida("--help")

    assert done.returncode == 0
    assert "exit codes" in done.stdout


def test_vehicles_are_a_table_or_json(cloud: Any) -> None:
    assert "compact-1  online" in oodida("vehicles", cloud=cloud.endpoint).stdout
    found = json.loads(oodida("vehicles", "--json", cloud=cloud.endpoint).stdout)

    assert [v["vehicle_id"] for v in found] == ["compact-1", "wagon-1"]
    assert found[0]["tags"] == {}


@pytest.mark.parametrize(
    "words",
    [
        ("vehicles",),
        ("jobs",),
        ("explain", "job-1"),
        ("doctor", "job-1"),
        ("results", "job-1"),
        ("results", "job-1", "--follow"),
        ("cancel", "job-1"),
    ],
)
def test_what_others_wrote_does_not_steer_the_terminal(
    scripted: Any, play: Any, make: Any, words: tuple[str, ...]
) -> None:
    with scripted(hostile(play, make)) as cloud:
        done = oodida(*words, cloud=cloud.endpoint)

    assert r"\x1b]0;pwned\x07" in done.stdout + done.stderr
    assert not any(c in done.stdout + done.stderr for c in "\x1b\x07\x9b\u202e")


def hostile(play: Any, make: Any) -> Any:
    """Return the script of a cloud whose every text holds what steers a terminal."""
    evil = "\x1b]0;pwned\x07\x9b2J\u202e"

    class Hostile(play):  # type: ignore[misc]
        def __call__(self, ask: Any) -> Any:
            answer = super().__call__(ask)
            if isinstance(answer, Vehicles):
                tagged = (replace(v, tags={"owner": evil}) for v in answer.vehicles)
                return replace(answer, vehicles=tuple(tagged))
            if isinstance(answer, Explanation):
                spec = replace(answer.job.spec, name=evil)
                members = (replace(m, detail=evil) for m in answer.members)
                job = replace(answer.job, spec=spec, reason=evil)
                return replace(answer, job=job, members=tuple(members))
            if isinstance(ask, ListJobs):
                job = super().__call__(Explain(assignment_id="job-1")).job
                return Jobs(jobs=(replace(job, spec=replace(job.spec, name=evil)),))
            return answer if not isinstance(ask, Cancel) else Rejection(reason=evil, message=evil)

    told = make.result("compact-1", 1, None, status="error", reason=evil, detail=evil)
    return Hostile([Event(seq=1, item=told)])


def test_submit_follows_and_writes_events(cloud: Any, spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    done = oodida("submit", spec, "--follow", "--out", out, cloud=cloud.endpoint)

    assert done.returncode == 0, done.stderr
    assert "round 1 complete 2/2: Vehicle.Speed 61" in done.stdout
    assert "job job-1 finished" in done.stderr
    assert [json.loads(line)["seq"] for line in out.read_text().splitlines()] == [1, 2, 3, 4, 5, 6]


def test_submit_without_following_prints_the_id(cloud: Any, spec: Path) -> None:
    assert oodida("submit", spec, cloud=cloud.endpoint).stdout == "job-1\n"
    assert json.loads(oodida("submit", spec, "--json", cloud=cloud.endpoint).stdout)["state"]


def test_a_job_that_fails_is_exit_code_1(scripted: Any, play: Any, make: Any, spec: Path) -> None:
    with scripted(play(make.events, end=JobState.FAILED)) as cloud:
        done = oodida("submit", spec, "--follow", cloud=cloud.endpoint)

    assert done.returncode == 1
    assert "job job-1 failed" in done.stderr


def test_bad_input_is_exit_code_2_and_nothing_is_sent(cloud: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(SPEC.replace("mean", "meen", 1))

    done = oodida("submit", bad, "--json", cloud=cloud.endpoint)

    assert done.returncode == 2
    assert json.loads(done.stderr)["path"] == "onboard"
    assert json.loads(done.stderr)["near"][0] == "mean"
    assert cloud.asks(Submit) == []
    assert oodida("submit", cloud=cloud.endpoint).returncode == 2
    assert oodida("submit", tmp_path / "none.yaml", cloud=cloud.endpoint).returncode == 2


def test_an_output_that_cannot_be_written_stops_before_anything_is_sent(
    cloud: Any, spec: Path
) -> None:
    done = oodida("submit", spec, "--out", "/nowhere/x.jsonl", cloud=cloud.endpoint)

    assert done.returncode == 2
    assert "/nowhere/x.jsonl: cannot be written" in done.stderr
    assert cloud.asks(Submit) == []


@pytest.mark.parametrize("words", [("submit", "SPEC", "--follow"), ("results", "job-1")])
def test_what_a_file_holds_is_replaced_only_by_force(
    cloud: Any, spec: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    out = tmp_path / "results.jsonl"
    out.write_text("of yesterday\n")
    command = [spec if word == "SPEC" else word for word in words]

    refused = oodida(*command, "--out", out, cloud=cloud.endpoint)
    assert refused.returncode == 2
    assert "holds 13 bytes; --force replaces them" in refused.stderr
    assert cloud.asked == []
    assert out.read_text() == "of yesterday\n"

    done = oodida(*command, "--out", out, "--force", cloud=cloud.endpoint)
    assert done.returncode == 0, done.stderr
    assert len(out.read_text().splitlines()) == 6
    assert "yesterday" not in out.read_text()


def test_a_refused_job_leaves_the_file_as_it_was(cloud: Any, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    out.write_text("of yesterday\n")

    done = oodida("results", "job-2", "--out", out, "--force", cloud=cloud.endpoint)

    assert done.returncode == 1
    assert out.read_text() == "of yesterday\n"

    done = oodida("results", "job-2", "--out", tmp_path / "new.jsonl", cloud=cloud.endpoint)
    assert done.returncode == 1
    assert not (tmp_path / "new.jsonl").exists()


def test_events_go_into_a_pipe_that_is_opened_once(cloud: Any, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        done = oodida("results", "job-1", "--out", pipe, cloud=cloud.endpoint)
        lines, _ = reader.communicate(timeout=20)

    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["seq"] for line in lines.splitlines()] == [1, 2, 3, 4, 5, 6]


def test_a_spec_can_be_checked_without_a_cloud(spec: Path) -> None:
    done = oodida("submit", spec, "--check")

    assert done.returncode == 0
    assert done.stdout.startswith(f"{spec}: can be submitted; ")
    assert "signals and vehicles were not looked up" in done.stdout


def test_no_cloud_is_exit_code_3() -> None:
    done = oodida("vehicles", "--timeout", "0.2")

    assert done.returncode == 3
    assert "is oodida-cloud running?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_request_is_exit_code_1(cloud: Any) -> None:
    done = oodida("explain", "job-2", cloud=cloud.endpoint)

    assert done.returncode == 1
    assert "no such job" in done.stderr


def test_an_answer_that_is_none_is_exit_code_1(scripted: Any, make: Any) -> None:
    with scripted(lambda ask: Pong(cloud_version="9", vehicles_online=0)) as cloud:
        done = oodida("vehicles", cloud=cloud.endpoint)

    assert done.returncode == 1
    assert "are analyst and cloud of the same version?" in done.stderr


def test_results_explain_and_jobs_show_what_is_known(cloud: Any) -> None:
    shown = oodida("results", "job-1", cloud=cloud.endpoint).stdout
    explained = oodida("explain", "job-1", cloud=cloud.endpoint).stdout

    assert "compact-1 iteration 1: Vehicle.Speed 60" in shown
    assert "52 of 100 samples" in explained


def test_a_criterion_that_cannot_be_told_shows_while_following_and_in_explain(
    scripted: Any, play: Any, make: Any, spec: Path
) -> None:
    note = "until: 'los' has no value here; it may read loss, round"
    states = (("started", ""), ("until_undefined", note), ("until_undefined", note))
    told = [
        JobChanged(assignment_id="job-1", state=JobState.RUNNING, reason=reason, detail=detail)
        for reason, detail in states
    ]
    script = play([Event(seq=n, item=item) for n, item in enumerate(told, 1)])
    with scripted(script) as cloud:
        followed = oodida("submit", spec, "--follow", cloud=cloud.endpoint).stdout
        explained = oodida("explain", "job-1", cloud=cloud.endpoint).stdout

    assert f"job running: {note}" in followed
    assert explained.count(f"note: {note}") == 1


def test_a_failed_iteration_shows_what_its_traceback_ends_with(
    scripted: Any, play: Any, make: Any, spec: Path
) -> None:
    frames = "".join(f'  File "custom.py", line {n}, in step\n    step()\n' for n in range(40))
    trace = f"Traceback (most recent call last):\n{frames}ZeroDivisionError: division by zero\n"
    failed = make.result("v1", 1, None, status="error", reason="traceback", detail=trace)
    with scripted(play([Event(seq=1, item=failed)])) as cloud:
        followed = oodida("submit", spec, "--follow", cloud=cloud.endpoint).stdout
        read = oodida("results", "job-1", cloud=cloud.endpoint).stdout

    line = "v1 iteration 1: failed, traceback: ZeroDivisionError: division by zero"
    assert f"{line}; see `oodida explain job-1`\n" in followed
    assert f"{line}; see `oodida explain job-1`\n" in read


def test_cancel_says_the_state(scripted: Any, play: Any, make: Any) -> None:
    class Cancelling(play):  # type: ignore[misc]
        def __call__(self, ask: Any) -> Any:
            if isinstance(ask, Cancel):
                return Cancelled(assignment_id="job-1", state=JobState.CANCELLED)
            return super().__call__(ask)

    with scripted(Cancelling(make.events)) as cloud:
        assert oodida("cancel", "job-1", cloud=cloud.endpoint).stdout == "job-1: cancelled\n"


def test_a_reader_that_goes_away_leaves_no_traceback(cloud: Any) -> None:
    with subprocess.Popen(
        command("schema"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ("")
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read().decode()
        process.wait(60)

    assert process.returncode == 141
    assert errors == ""


def test_ctrl_c_while_following_ends_cleanly(
    scripted: Any, play: Any, make: Any, spec: Path
) -> None:
    class Endless(play):  # type: ignore[misc]
        def __call__(self, ask: Any) -> Any:
            if isinstance(ask, ReadEvents) and ask.after_seq >= 6:
                return None
            return super().__call__(ask)

        def _read(self, ask: Any) -> Any:
            events = super()._read(ask)
            return type(events)(
                events=events.events, next_seq=events.next_seq, state=JobState.RUNNING, ended=False
            )

    with (
        scripted(Endless(make.events)) as cloud,
        subprocess.Popen(
            command("submit", spec, "--follow"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ(cloud.endpoint),
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("round 2"):
                break
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
        process.wait(60)

    assert process.returncode == 130
    assert "jobs in the cloud go on" in errors
    assert "Traceback" not in errors


def test_custom_code_is_tried_here(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    done = oodida("code", "try", path, "--samples", "1,2.5")
    assert (done.returncode, done.stdout) == (0, "seen 2\n3.5\n")

    path.write_text("def custom(xs):\n    return 1 / 0\n")
    done = oodida("code", "try", path, "--json")
    assert done.returncode == 1
    assert "ZeroDivisionError" in json.loads(done.stdout)["detail"]


STATEFUL = """
from user_lib import Result
def custom(data, params):
    seen = (params.state or 0) + len(data["EngineData.EngineSpeed"])
    print(params.iteration, list(data))
    return Result(float(data["EngineData.EngineSpeed"].mean()), seen)
"""
DATABASE = Path(dbc.__file__).with_name("files") / "compact_powertrain.dbc"


def recorded(tmp_path: Path, frames: int) -> Path:
    log = tmp_path / "drive.log"
    speeds = (4 * (1000 + i) for i in range(frames))
    lines = [
        f"({1000 + i / 100:.6f}) can0 100#{speed.to_bytes(2, 'little').hex()}000000000000"
        for i, speed in enumerate(speeds)
    ]
    log.write_text("\n".join(lines) + "\n")
    return log


def test_code_is_tried_on_the_windows_of_a_log_and_state_is_passed_on(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text(STATEFUL)
    on = ("--on", recorded(tmp_path, 25), "--dbc", DATABASE, "--signals", "EngineData.EngineSpeed")

    done = oodida("code", "try", module, *on, "--window", "10", "--iterations", "2")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "1 ['EngineData.EngineSpeed']", "1004.5", "2 ['EngineData.EngineSpeed']", "1014.5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--window", "100"), "ends before the first window is full"),
        (("--signals", "EngineData.EngineSped"), "EngineSpeed"),
        (("--signals", ""), "no signal"),
        (("--window", "soon"), "neither 100 nor 2.5s"),
    ],
)
def test_a_log_that_cannot_be_tried_on_says_why(
    tmp_path: Path, more: tuple[str, str], says: str
) -> None:
    module = tmp_path / "mine.py"
    module.write_text(GOOD)
    on = ("--on", recorded(tmp_path, 25), "--dbc", DATABASE, "--signals", "EngineData.EngineSpeed")

    done = oodida("code", "try", module, *on, *more)

    assert done.returncode == 2
    assert says in done.stderr


def test_an_unknown_signal_of_a_log_is_told_by_its_databases(tmp_path: Path) -> None:
    module, log = tmp_path / "mine.py", recorded(tmp_path, 3)
    module.write_text(GOOD)

    done = oodida(
        "code", "try", module, "--on", log, "--dbc", DATABASE, "--signals", "EngineData.EngineSped"
    )

    assert done.returncode == 2
    assert f"no signal 'EngineData.EngineSped' in the databases given for {log}" in done.stderr
    assert "did you mean EngineData.EngineSpeed" in done.stderr


def test_a_log_without_databases_asks_for_them(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text(GOOD)

    done = oodida("code", "try", module, "--on", recorded(tmp_path, 3))

    assert done.returncode == 2
    assert "name its --dbc and the --signals" in done.stderr


def test_the_schema_describes_the_grammar() -> None:
    schema = json.loads(oodida("schema").stdout)

    assert "onboard" in json.dumps(schema)
    assert "threshold" in oodida("methods").stdout


def test_a_method_is_told_in_full_and_an_unknown_one_by_its_nearest() -> None:
    told = oodida("methods", "histogram").stdout
    unknown = oodida("methods", "histogramm")

    assert "low (number, may be left out): the lowest edge, when edges is not given" in told
    assert "…" not in told
    assert (unknown.returncode, unknown.stderr.strip()) == (
        2, "oodida: no method 'histogramm'; there is histogram"
    )  # fmt: skip


def test_ctrl_c_while_the_command_still_loads_shows_no_traceback() -> None:
    # A module that raises stands for the key: the moment itself cannot be hit by a clock.
    script = (
        "import sys, user_lib.cli\n"
        "class Pressed:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'user_lib.cli.entry': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "sys.exit(user_lib.cli.main(['vehicles']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (130, "\ninterrupted\n")
