"""External workers: any language, one line of JSON in, one out, the same limits and suspicion."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.sandbox import Job, Limits, Outcome, Sandbox, SandboxConfig
from user_lib.contract.window import Window

C_WORKER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* Sums the first signal's values; null is a gap. */
int main(void) {
    size_t size = 0; char *line = NULL;
    if (getline(&line, &size, stdin) < 0) return 2;
    char *at = strstr(line, "\"values\":[");
    if (!at) { printf("{\"error\":\"no values\"}\n"); return 0; }
    at += 10;
    double sum = 0; long n = 0;
    while (*at && *at != ']') {
        if (*at == 'n') { at += 4; }
        else { sum += strtod(at, &at); n++; }
        if (*at == ',') at++;
    }
    fprintf(stderr, "counted %ld\n", n);
    printf("{\"value\":%.17g,\"weight\":%ld,\"state\":{\"n\":%ld}}\n", sum, n, n);
    return 0;
}
"""
AWK_WORKER = r"""
{
    match($0, /"values":\[[^\]]*\]/)
    n = split(substr($0, RSTART + 10, RLENGTH - 11), v, ",")
    for (i = 1; i <= n; i++) if (v[i] != "null") { sum += v[i]; count++ }
    print "counted " count > "/dev/stderr"
    printf "{\"value\":%.17g,\"weight\":%d,\"state\":{\"n\":%d}}\n", sum, count, count
}
"""
PATIENT = Limits(cpu_s=1, memory_mb=64, wall_s=60)
BRISK = Limits(cpu_s=60, memory_mb=64, wall_s=2)
SHELL = {
    "echo": 'sed \'s/null/"gap"/g; s/^/{"value":/; s/$/}/\'',
    "error": 'read -r line; echo \'{"error":"the probe is unplugged"}\'',
    "exit": "echo broken >&2; exit 3",
    "silent": "true",
    "garbage": "echo hello",
    "no_value": "echo '{\"weight\":1}'",
    "nan": "echo '{\"value\":NaN}'",
    "deep": "printf '{\"value\":'; printf '[%.0s' $(seq 99); printf ']%.0s' $(seq 99); echo '}'",
    "negative_weight": 'echo \'{"value":1,"weight":-1}\'',
    "babble": "yes",
    "babble_on_one_line": "yes | tr -d '\\n'",
    "babble_on_stderr": "yes >&2",
    "two_lines": "echo '{\"value\":1}'; echo '{\"value\":2}'",
    "no_newline": "printf '{\"value\":1}'",
    "lingers": "echo '{\"value\":1}'; sleep 60",
    "hangs": "sleep 60",
    "spins": "while :; do :; done",
    "leaves_children": "(setsid sleep 61 &) ; echo '{\"value\":1}'",
    "environment": "printf '{\"value\":\"%s\"}\\n' \"$(env | cut -d= -f1 | sort | tr '\\n' ' ')\"",
}


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("workers")
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    commands: dict[str, tuple[str, ...]] = {
        name: ("/bin/sh", "-c", script) for name, script in SHELL.items()
    }
    commands["awk"] = ("awk", AWK_WORKER)
    commands["crashes"] = (sys.executable, "-c", "import ctypes; ctypes.string_at(0)")
    commands["absent"] = ("/nowhere/worker",)
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler:
        source = folder / "worker.c"
        source.write_text(C_WORKER)
        subprocess.run([compiler, "-O1", "-o", str(folder / "worker"), str(source)], check=True)
        commands["c"] = (str(folder / "worker"),)
    with Sandbox(SandboxConfig(external=commands, output_bytes=1 << 16)) as made:
        yield made


Ask = Callable[..., Outcome]


@pytest.fixture
def ask(external: Sandbox) -> Ask:
    def run(name: str, limits: Limits | None = None, **more: Any) -> Outcome:
        values = np.array([1.0, np.nan, 2.5])
        window = Window(
            {"Vehicle.Speed": values}, {"Vehicle.Speed": np.array([10, 20, 30])}, 10, 40,
            units={"Vehicle.Speed": "km/h"}, lost_frames=2, away_ms=3,
        )  # fmt: skip
        given = limits or (BRISK if name == "hangs" else PATIENT)
        return external.run(
            Job(half="onboard", method=f"external:{name}", window=window, limits=given, **more)
        )

    return run


@pytest.mark.parametrize("worker", ["awk", "c"])
def test_a_worker_in_another_language_computes_on_the_window(ask: Ask, worker: str) -> None:
    if worker == "c" and not (shutil.which("gcc") or shutil.which("cc")):
        pytest.skip("no C compiler")

    out = ask(worker)

    assert (out.status, out.value, out.weight) == ("ok", 3.5, 2.0), out
    assert out.state == {"n": 2}
    assert out.prints == "counted 2\n"


def test_the_request_is_the_documented_line(ask: Ask) -> None:
    out = ask(
        "echo", iteration=3, vehicle="kona-1", params={"k": 1}, state=[2], feedback={"w": 0.5}
    )

    assert out.value == {
        "protocol": 1,
        "half": "onboard",
        "iteration": 3,
        "vehicle": "kona-1",
        "params": {"k": 1},
        "state": [2],
        "feedback": {"w": 0.5},
        "inputs": [],
        "signals": {
            "Vehicle.Speed": {
                "unit": "km/h",
                "times_ns": [10, 20, 30],
                "values": [1.0, "gap", 2.5],
            }
        },
        "start_ns": 10,
        "stop_ns": 40,
        "lost_frames": 2,
        "away_ms": 3,
        "trigger_ns": "gap",
    }


@pytest.mark.parametrize(
    ("worker", "status", "reason", "says"),
    [
        ("error", "error", "traceback", "the probe is unplugged"),
        ("exit", "error", "exit", "exit code 3\nbroken"),
        ("silent", "error", "exit", "without an answer"),
        ("garbage", "error", "protocol", "found b'hello\\n'"),
        ("no_value", "error", "protocol", "neither value nor error"),
        ("nan", "error", "protocol", "NaN"),
        ("deep", "error", "result", "nested deeper"),
        ("negative_weight", "error", "result", "weight is -1"),
        ("babble", "error", "protocol", "found b'y\\n'"),
        ("babble_on_one_line", "killed", "output", "wrote far more"),
        ("babble_on_stderr", "killed", "output", "wrote far more"),
        ("hangs", "killed", "wall", "wall limit 2 s reached"),
        ("spins", "killed", "cpu", "processor limit 1 s reached"),
        ("crashes", "killed", "crash", "SIGSEGV"),
        ("absent", "error", "exit", "cannot execute /nowhere/worker"),
    ],
)
def test_a_worker_that_misbehaves_costs_its_own_iteration(
    ask: Ask, worker: str, status: str, reason: str, says: str
) -> None:
    out = ask(worker)

    assert (out.status, out.reason) == (status, reason), out
    assert says in out.detail
    assert ask("awk").value == 3.5


@pytest.mark.parametrize("worker", ["two_lines", "no_newline", "lingers", "leaves_children"])
def test_the_first_line_counts_and_the_rest_is_ended(ask: Ask, worker: str) -> None:
    assert ask(worker).value == 1


def test_nothing_of_the_agents_environment_is_passed_on(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OODIDA_KEY", "secret")

    assert "OODIDA" not in ask("environment").value


def test_a_child_that_fled_does_not_outlive_the_iteration(ask: Ask) -> None:
    ask("leaves_children")

    running = [
        (entry / "cmdline").read_bytes()
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (entry / "cmdline").exists()
    ]
    assert not [c for c in running if c.startswith(b"sleep\x0061\x00")]


def test_an_unknown_worker_is_refused_with_the_known_names(ask: Ask) -> None:
    out = ask("nope")

    assert (out.status, out.reason) == ("refused", "sandbox")
    assert "no external worker 'nope'; there is" in out.detail
