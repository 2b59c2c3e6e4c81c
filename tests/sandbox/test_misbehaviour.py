"""Code that misbehaves costs its own iteration, with the reason; the next one is untouched."""

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from agent.sandbox import Job, Limits, Outcome, Sandbox, SandboxConfig, window_of

Run = Callable[..., Outcome]
TIGHT = Limits(cpu_s=1.0, memory_mb=64, wall_s=60.0)
BRISK = Limits(cpu_s=60.0, memory_mb=64, wall_s=0.7)

CASES = {
    "raises": ("raise ValueError('no')", "error", "traceback", "ValueError: no"),
    "sys_exit": ("import sys; sys.exit(3)", "error", "exit", "sys.exit(3)"),
    "os_exit": ("import os; os._exit(3)", "error", "exit", "exit code 3"),
    "os_exit_0": ("import os; os._exit(0)", "error", "exit", "without an answer"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "killed", "crash", "SIGSEGV"),
    "spin": ("while True: pass", "killed", "cpu", "processor limit 1 s reached"),
    "sleep": ("import time; time.sleep(60)", "killed", "wall", "wall limit 0.7 s reached"),
    "hog_bytes": ("return len(bytearray(10**9))", "killed", "memory", "memory limit 64 MB reached"),
    "hog_slowly": (
        "kept = []\n    while True: kept.append('x' * 1000 + str(len(kept)))",
        "killed",
        "memory",
        "memory limit 64 MB reached",
    ),
    "hog_numpy": (
        "import numpy as np; return float(np.ones(10**8).sum())",
        "killed",
        "memory",
        "memory limit 64 MB reached",
    ),
    "hog_result": (
        "return ['x' * 1000 + str(i) for i in range(900_000)]",
        "killed",
        "memory",
        "memory limit 64 MB",
    ),
    "print_flood": ("while True: print('x' * 1000)", "killed", "output", "wrote far more"),
    "result_flood": ("return 'x' * (3 << 20)", "error", "output", "at most 1048576 may be sent"),
    "recursion": ("return custom(xs)", "error", "traceback", "RecursionError"),
    "deep_recursion": (
        "import sys; sys.setrecursionlimit(10**9); return max([xs], key=custom)",
        "killed",
        "",
        "",
    ),
    "huge_message": ("raise ValueError('y' * 10**7)", "error", "traceback", "characters cut"),
    "hostile_str": (
        "class E(Exception):\n        def __str__(self): raise SystemExit\n    raise E",
        "error",
        "traceback",
        "E",
    ),
    "closes_everything": (
        "import os; os.closerange(0, 4096); return 1",
        "error",
        "protocol",
        "closed",
    ),
    "garbage_on_every_descriptor": (
        "import os\n    for fd in range(3, 99):\n        try: os.write(fd, b'garbage')\n"
        "        except OSError: pass\n    return 1",
        "error",
        "protocol",
        "no frame",
    ),
    "forged_length": (
        "import os\n    for fd in range(3, 99):\n"
        "        try: os.write(fd, b'OODA' + b'\\xff' * 4)\n"
        "        except OSError: pass\n    return 1",
        "error",
        "protocol",
        "announced an answer of 4294967295 bytes",
    ),
    "forged_answer": (
        "import os\n    body = b'{\"status\":\"ok\",\"value\":' + b'[' * 999 + b']' * 999 + b'}'\n"
        "    for fd in range(3, 99):\n"
        "        try: os.write(fd, b'OODA' + len(body).to_bytes(4, 'little') + body)\n"
        "        except OSError: pass\n    return 1",
        "error",
        "protocol",
        "malformed",
    ),
    "forged_reason": (
        'import os\n    body = b\'{"status":"refused","reason":"hello"}\'\n'
        "    for fd in range(3, 99):\n"
        "        try: os.write(fd, b'OODA' + len(body).to_bytes(4, 'little') + body)\n"
        "        except OSError: pass\n    return 1",
        "error",
        "protocol",
        "hello",
    ),
    "breaks_stdout": ("import sys; sys.stdout = None; sys.stderr.close(); return 1", "ok", "", ""),
    "lives_on_in_a_thread": (
        "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); return 1",
        "ok",
        "",
        "",
    ),
    "breaks_the_encoder": (
        "import msgspec; msgspec.json.encode = None; return 1",
        "error",
        "",
        "",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_misbehaviour_is_told_and_contained(run_code: Run, name: str) -> None:
    body, status, reason, says = CASES[name]

    out = run_code(f"def custom(xs):\n    {body}", limits=BRISK if reason == "wall" else TIGHT)

    assert out.status == status, out
    assert reason in ("", out.reason), out
    assert says in out.detail
    assert len(out.detail) < 20_000
    assert run_code("def custom(xs): return 1").value == 1


def test_import_time_counts_as_the_iteration(run_code: Run) -> None:
    out = run_code("while True: pass\ndef custom(xs): return 1", limits=TIGHT)

    assert out.reason == "cpu"


def test_a_fork_bomb_is_bounded_and_swept_up() -> None:
    source = """
import os, time
def custom(xs):
    for _ in range(50):
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
    return "made"
"""
    job = Job(half="onboard", method="custom", source=source, window=window_of(np.arange(3.0)))
    with Sandbox(SandboxConfig(level="limits", spares=0)) as sandbox:
        assert sandbox.run(job).value == "made"
        assert sandbox.run(good_job()).value == 1
        (zygote,) = children_of(sandbox.zygote_pid or 0)
        wait_until(lambda: children_of(zygote) == [])


def test_what_was_printed_before_a_kill_arrives(run_code: Run) -> None:
    out = run_code("def custom(xs):\n    print('so far')\n    while True: pass", limits=TIGHT)

    assert (out.reason, out.prints) == ("cpu", "so far\n")


def test_prints_are_capped_and_the_cut_is_counted(run_code: Run) -> None:
    out = run_code("def custom(xs):\n    print('x' * 200_000)\n    return 1")

    assert out.value == 1
    assert out.prints.endswith("... 134465 bytes more were cut")
    assert len(out.prints) < 70_000


def test_usage_is_the_kernels_word(run_code: Run) -> None:
    out = run_code("def custom(xs):\n    import time\n    t = time.process_time()\n"
                   "    while time.process_time() - t < 0.3: pass\n    return 1")  # fmt: skip

    assert 0.3 <= out.cpu_s < 2
    assert out.wall_s >= 0.3
    assert out.max_rss_mb > 10


def spin_job(wall_s: float = 20.0) -> Job:
    return Job(
        half="onboard",
        method="custom",
        source="import time\ndef custom(xs):\n    time.sleep(60)",
        window=window_of(np.arange(10.0)),
        limits=Limits(wall_s=wall_s),
    )


def good_job(number: int = 1) -> Job:
    return Job(
        half="onboard",
        method="custom",
        source=f"def custom(xs): return {number}",
        window=window_of(np.arange(10.0)),
    )


def test_a_killed_zygote_costs_the_running_jobs_and_is_started_again() -> None:
    with Sandbox(SandboxConfig(spares=1)) as sandbox, ThreadPoolExecutor(5) as slots:
        sandbox.start()
        running = [slots.submit(sandbox.run, spin_job()) for _ in range(5)]
        wait_until(lambda: sandbox.running == 5)
        assert sandbox.zygote_pid is not None
        os.kill(sandbox.zygote_pid, signal.SIGKILL)

        outcomes = [job.result(timeout=10) for job in running]

        assert {(o.status, o.reason) for o in outcomes} == {("killed", "crash")}
        assert all("zygote" in o.detail for o in outcomes)
        assert sandbox.run(good_job()).value == 1
        assert sandbox.restarts == 1


def test_a_stopped_zygote_is_replaced() -> None:
    with Sandbox(SandboxConfig(spares=1, start_timeout_s=1.0)) as sandbox:
        sandbox.start()
        assert sandbox.zygote_pid is not None
        (inner,) = children_of(sandbox.zygote_pid)
        os.kill(inner, signal.SIGSTOP)

        assert sandbox.run(good_job()).value == 1
        assert sandbox.restarts == 1


def test_a_machine_that_refuses_a_process_costs_one_job_and_no_zygote() -> None:
    with Sandbox(SandboxConfig(spares=0)) as sandbox, ThreadPoolExecutor(1) as slots:
        running = slots.submit(sandbox.run, spin_job(wall_s=3.0))
        wait_until(lambda: sandbox.running == 1)
        (zygote,) = children_of(sandbox.zygote_pid or 0)
        allow_processes(zygote, "0")

        out = sandbox.run(good_job())

        allow_processes(zygote, inherited())
        assert (out.status, out.reason) == ("refused", "sandbox")
        assert "no worker could be made" in out.detail
        assert sandbox.run(good_job()).value == 1
        assert running.result(timeout=20).reason == "wall"
        assert sandbox.restarts == 0


def inherited() -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return "unlimited" if soft == resource.RLIM_INFINITY else str(soft)


def allow_processes(pid: int, number: str) -> None:
    """Set how many processes its user may have, as that user."""
    as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = ["prlimit", f"--pid={pid}", f"--nproc={number}:"]
    subprocess.run([*(as_user if os.geteuid() == 0 else []), *command], check=True)


def test_twenty_at_once_each_get_their_own_answer(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(20) as slots:
        outcomes = list(slots.map(lambda i: sandbox.run(good_job(i)), range(60)))

    assert [o.value for o in outcomes] == list(range(60))


def test_closing_ends_the_zygote_and_its_workers() -> None:
    sandbox = Sandbox(SandboxConfig(spares=2))
    sandbox.start()
    pid = sandbox.zygote_pid
    with ThreadPoolExecutor(1) as slots:
        running = slots.submit(sandbox.run, spin_job())
        wait_until(lambda: sandbox.running == 1)
        sandbox.close()
        assert running.result(timeout=10).status == "killed"

    assert not Path(f"/proc/{pid}").exists()
    assert sandbox.run(good_job()).reason == "sandbox"


def test_nothing_leaks_in_the_agent_over_many_runs(sandbox: Sandbox) -> None:
    sandbox.run(good_job())
    before = len(os.listdir("/proc/self/fd"))

    for i in range(30):
        sandbox.run(good_job(i))

    assert len(os.listdir("/proc/self/fd")) == before


def test_nothing_grows_in_the_zygote_over_many_runs() -> None:
    with Sandbox(SandboxConfig(spares=1)) as sandbox:
        sandbox.run(good_job())
        (zygote,) = children_of(sandbox.zygote_pid or 0)
        mounts = Path(f"/proc/{zygote}/mountinfo").read_text()

        for i in range(100):
            assert sandbox.run(good_job(i)).value == i

        wait_until(lambda: len(children_of(zygote)) == 1)
        assert Path(f"/proc/{zygote}/mountinfo").read_text() == mounts


def test_a_python_that_does_not_start_refuses_with_the_reason(tmp_path: Path) -> None:
    with Sandbox(SandboxConfig(python=str(tmp_path / "none"))) as sandbox:
        out = sandbox.run(good_job())

    assert (out.status, out.reason) == ("refused", "sandbox")
    assert "none" in out.detail


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for a state of another thread; fail when it does not come."""
    deadline = time.monotonic() + timeout_s
    event = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "the awaited state did not come"
        event.wait(0.01)
