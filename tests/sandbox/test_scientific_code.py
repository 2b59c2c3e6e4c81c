"""What analysts write works in the sandbox as at their desks, and says clearly where it ends."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agent.sandbox import Limits, Outcome

Run = Callable[..., Outcome]

WORKS: dict[str, tuple[str, Any]] = {
    "linear_algebra": (
        "a = np.random.default_rng(1).normal(size=(60, 60))\n"
        "    u, s, vt = np.linalg.svd(a); q, r = np.linalg.qr(a); np.linalg.cholesky(a @ a.T)\n"
        "    np.linalg.eig(a); np.linalg.lstsq(a, a[0], rcond=None); np.linalg.det(a)\n"
        "    return [np.allclose(u * s @ vt, a), np.allclose(q @ r, a),"
        " np.allclose(np.linalg.solve(a, a @ a), a), round(np.linalg.norm(np.eye(9)), 9)]",
        [True, True, True, 3.0],
    ),
    "transforms": (
        "t = np.arange(1000) / 1000\n"
        "    f = abs(np.fft.rfft(np.sin(2 * np.pi * 50 * t)))\n"
        "    grid = np.fft.ifft2(np.fft.fft2(np.eye(64))).real\n"
        "    return [int(f.argmax()), np.allclose(grid, np.eye(64))]",
        [50, True],
    ),
    "filters_and_interpolation": (
        "y = np.convolve(xs, np.ones(3) / 3, 'valid'); p = np.polyfit(xs, 2 * xs + 1, 1)\n"
        "    return [y.tolist()[:2], np.round(p, 6), np.interp(2.5, xs, xs), np.gradient(xs)[0],"
        " np.histogram(xs, 2)[0], np.percentile(xs, 50), round(np.corrcoef(xs, xs)[0, 1], 9)]",
        [[1.0, 2.0], [2.0, 1.0], 2.5, 1.0, [5, 5], 4.5, 1.0],
    ),
    "random_numbers": (
        "import random\n"
        "    g = np.random.default_rng(7); random.seed(7); np.random.seed(7)\n"
        "    again = np.random.default_rng(7)\n"
        "    g.shuffle(x := np.arange(9)); random.sample(range(9), 3); np.random.normal(size=9)\n"
        "    again.shuffle(y := np.arange(9)); return bool((x == y).all())",
        True,
    ),
    "thread_pool": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "    with ThreadPoolExecutor() as pool: return list(pool.map(lambda v: float(v) ** 2, xs))",
        [float(v * v) for v in range(10)],
    ),
    "twenty_threads": (
        "import threading, queue\n"
        "    q = queue.Queue(); gate = threading.Barrier(20)\n"
        "    def work(i): gate.wait(); q.put(i)\n"
        "    ts = [threading.Thread(target=work, args=(i,)) for i in range(20)]\n"
        "    [t.start() for t in ts]; [t.join() for t in ts]\n"
        "    return sorted(q.get() for _ in ts) == list(range(20))",
        True,
    ),
    "collections_and_iteration": (
        "import collections, itertools, functools, heapq, bisect, operator\n"
        "    @functools.lru_cache(maxsize=None)\n"
        "    def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "    P = collections.namedtuple('P', 'x y'); d = collections.defaultdict(list)\n"
        "    d['a'].append(P(1, 2)); c = collections.Counter('abca')\n"
        "    return [fib(80), d, c.most_common(1), list(itertools.accumulate([1, 2, 3])),"
        " heapq.nsmallest(2, [3, 1, 2]), bisect.bisect([1, 3], 2),"
        " functools.reduce(operator.mul, [2, 3, 4]), collections.deque([1, 2], 1).pop()]",
        [23416728348467685, {"a": [[1, 2]]}, [["a", 2]], [1, 3, 6], [1, 2], 1, 24, 2],
    ),
    "times_and_zones": (
        "import datetime, zoneinfo, time, calendar\n"
        "    at = datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo('Europe/Stockholm'))\n"
        "    time.strftime('%c'); time.sleep(0.001); datetime.datetime.now()\n"
        "    return [at.isoformat(), at.astimezone(datetime.timezone.utc).hour,"
        " calendar.isleap(2024), datetime.timedelta(seconds=90).total_seconds()]",
        ["2024-07-01T12:00:00+02:00", 10, True, 90.0],
    ),
    "exact_numbers": (
        "import decimal, fractions, statistics, math, cmath\n"
        "    return [str(decimal.Decimal('1.10') + 2), str(fractions.Fraction(1, 3) * 2),"
        " statistics.stdev([1, 2, 3, 4]) > 1, statistics.quantiles([1, 2, 3, 4], n=4),"
        " math.comb(10, 3), round(abs(cmath.exp(1j * math.pi)), 9)]",
        ["3.10", "2/3", True, [1.25, 2.5, 3.75], 120, 1.0],
    ),
    "text": (
        "import re, json, string, textwrap, struct, base64, zlib, hashlib, csv, io\n"
        "    rows = list(csv.reader(io.StringIO('a,b\\n1,2')))\n"
        "    return [re.findall(r'(\\w+)@', 'me@x you@y'), json.loads(json.dumps({'a': [1.5]})),"
        " textwrap.shorten('hello world', 8, placeholder='..'), struct.unpack('<h', b'\\x01\\x02'),"
        " zlib.decompress(zlib.compress(b'abc')).decode(), hashlib.sha256(b'').hexdigest()[:8],"
        " rows, f'{3.14159:.2f}']",
        [
            ["me", "you"],
            {"a": [1.5]},
            "hello..",
            [513],
            "abc",
            "e3b0c442",
            [["a", "b"], ["1", "2"]],
            "3.14",
        ],
    ),
    "classes": (
        "import dataclasses, enum, abc, typing, contextlib, copy, types\n"
        "    @dataclasses.dataclass(frozen=True, order=True)\n"
        "    class Trip:\n"
        "        km: float\n"
        "        tags: list[str] = dataclasses.field(default_factory=list)\n"
        "    class Gear(enum.IntEnum):\n"
        "        FIRST = 1\n"
        "    with contextlib.suppress(ValueError): raise ValueError\n"
        "    return [dataclasses.asdict(copy.deepcopy(Trip(2.0, ['a']))), Gear(1),"
        " Gear.FIRST.name]",
        [{"km": 2.0, "tags": ["a"]}, 1, "FIRST"],
    ),
    "recursion_to_the_limit": (
        "import sys\n"
        "    def down(n): return n if n == 0 else down(n - 1)\n"
        "    return down(sys.getrecursionlimit() - 60)",
        0,
    ),
    "deep_recursion_in_a_thread": (
        "import sys, threading\n"
        "    sys.setrecursionlimit(3000); got = []\n"
        "    def down(n): return n if n == 0 else max([down(n - 1)], key=abs)\n"
        "    t = threading.Thread(target=lambda: got.append(down(900))); t.start(); t.join()\n"
        "    return got",
        [0],
    ),
    "division_and_numpy_errors": (
        "with np.errstate(divide='ignore', invalid='ignore'):\n"
        "        a = np.ones(3) / np.array([0, 1, 2])\n"
        "    with np.errstate(all='raise'):\n"
        "        try: np.ones(1) / 0\n"
        "        except FloatingPointError: caught = True\n"
        "    return [np.nan_to_num(a, posinf=0.0), caught]",
        [[0.0, 1.0, 0.5], True],
    ),
    "scratch_files": (
        "import tempfile, pathlib, sqlite3\n"
        "    np.save('a.npy', xs); p = pathlib.Path('b.txt'); p.write_text('hello')\n"
        "    with tempfile.TemporaryFile() as f: f.write(b'x')\n"
        "    db = sqlite3.connect(':memory:'); db.execute('create table t (a)')\n"
        "    return [float(np.load('a.npy').sum()), p.read_text(),"
        " len(list(pathlib.Path('.').iterdir()))]",
        [45.0, "hello", 2],
    ),
    "lazy_modules": (
        "import numpy.polynomial, numpy.ma, numpy.testing, numpy.lib.stride_tricks as s\n"
        "    import asyncio, argparse, logging, unittest, array, uuid, secrets, difflib, graphlib\n"
        "    return s.sliding_window_view(xs, 3).shape",
        [8, 3],
    ),
}


@pytest.mark.parametrize("name", WORKS)
def test_ordinary_code_works(run_code: Run, name: str) -> None:
    body, value = WORKS[name]

    out = run_code(f"import numpy as np\ndef custom(xs):\n    {body}\n")

    assert (out.status, out.value) == ("ok", value), out


def test_prints_of_arrays_warnings_and_logging_arrive(run_code: Run) -> None:
    source = """
import logging, warnings
import numpy as np
def custom(xs):
    print(xs, np.float64(2.5), "é😀")
    warnings.warn("mind the gap")
    np.ones(1) / np.zeros(1)
    logging.warning("logged")
    return 1
"""
    out = run_code(source)

    assert out.value == 1
    assert out.prints.startswith("[0. 1. 2. 3. 4. 5. 6. 7. 8. 9.] 2.5 é😀\n")
    for words in (
        "UserWarning: mind the gap",
        "RuntimeWarning: divide by zero",
        "WARNING:root:log",
    ):
        assert words in out.prints


def test_fifty_megabytes_are_computed_on(run_code: Run) -> None:
    source = "def custom(xs): return [float(xs.mean()), float((xs - xs.mean()).std())]"

    out = run_code(source, samples=np.arange(6.5e6), limits=Limits(memory_mb=256, cpu_s=20))

    assert out.value == [3249999.5, pytest.approx(1876388.37, abs=0.01)]


@pytest.mark.parametrize(
    "body",
    [
        "np.ones(10**9)",
        "[np.ones(10**6) for _ in range(99)]",
        "np.linalg.inv(np.eye(3000))",
        "'x' * 10**9",
        "sorted(range(10**8))",
        "xs.tolist() * 10**8",
    ],
)
def test_the_memory_limit_is_told_in_words(run_code: Run, body: str) -> None:
    source = f"import numpy as np\ndef custom(xs):\n    return len({body})\n"

    out = run_code(source, limits=Limits(memory_mb=64, cpu_s=20, wall_s=60))

    assert (out.status, out.reason) == ("killed", "memory")
    assert out.detail.startswith("memory limit 64 MB reached")


def test_the_limit_on_threads_is_told_in_words(run_code: Run) -> None:
    source = """
import threading, time
def custom(xs):
    for _ in range(500):
        threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
"""
    out = run_code(source, limits=Limits(memory_mb=64))

    assert out.reason == "traceback"
    assert "each takes 2 MB of the memory limit of 64 MB" in out.detail
