"""Resources: each limit holds, whatever the way around it."""

# ruff: noqa: E501 - a case a line
# fmt: off

from tests.sandbox.hostile.case import Case

MEMORY = "killed:memory"

CASES = (
    Case("list", "kept = []\n    while True: kept.append([0] * 10**6)", MEMORY),
    Case("string", "return len('x' * 10**10)", MEMORY),
    Case("doubling", "s = 'x' * 1000\n    while True: s += s", MEMORY),
    Case("numpy", "import numpy as np\n    kept = []\n    while True: kept.append(np.ones(10**6))", MEMORY),
    Case("anonymous_map", "return denied(mmap.mmap, -1, 1 << 33)", "denied|killed:memory"),
    Case("shared_map", "return denied(lambda: [mmap.mmap(-1, 1 << 24, mmap.MAP_SHARED) for _ in range(99)])", "denied|killed:memory"),
    Case("integer", "return len(str(10 ** 10 ** 8))", "killed:cpu|killed:memory|killed:traceback"),
    Case("range_list", "return len(list(range(10**10)))", MEMORY),
    Case("json_bomb", "import json; return len(json.loads('[' * 10**5 + ']' * 10**5))", "killed:traceback|killed:memory"),
    Case("zip_bomb", "import zlib; return len(zlib.decompress(zlib.compress(bytes(1 << 27), 9)))", MEMORY),
    Case("memory_error_swallowed", "kept = []\n    while True:\n        try: kept.append(bytearray(10**6))\n        except MemoryError: pass", "killed:cpu|killed:memory"),
    Case("stack", "sys.setrecursionlimit(10**9)\n    f = lambda: max([1], key=lambda _: f())\n    f()", "killed:crash|killed:memory|killed:traceback"),
    Case("generator_stack", "it = iter([1])\n    for _ in range(10**6): it = map(int, it)\n    return list(it)", "killed:crash|killed:memory|killed:traceback|harmless"),
    Case("spin", "while True: pass", "killed:cpu"),
    Case("spin_in_c", "return sum(range(10**12))", "killed:cpu"),
    Case("spin_in_regex", "import re; return bool(re.match('(a+)+b', 'a' * 60))", "killed:cpu"),
    Case("spin_in_threads", "for _ in range(4): threading.Thread(target=lambda: sum(range(10**12))).start()\n    while True: pass", "killed:cpu"),
    Case("spin_in_numpy", "import numpy as np\n    a = np.ones((300, 300))\n    while True: a @ a", "killed:cpu"),
    Case("sleep", "time.sleep(60)", "killed:wall"),
    Case("deadlock", "lock = threading.Lock(); lock.acquire(); lock.acquire()", "killed:wall"),
    Case("wait_for_input", "return repr(sys.stdin and sys.stdin.read())", "harmless"),
    Case("select_forever", "import select; select.select([], [], [])", "killed:wall"),
    Case("pause", "signal.pause()", "killed:wall"),
    Case("thread_bomb", "for _ in range(10**5): threading.Thread(target=time.sleep, args=(60,)).start()", "killed:traceback|killed:memory|killed:wall"),
    Case("descriptors", "return denied(lambda: [os.dup(1) for _ in range(10**5)])"),
    Case("pipes", "return denied(lambda: [os.pipe() for _ in range(10**5)])"),
    Case("core_dump", "import resource; return resource.getrlimit(resource.RLIMIT_CORE)", "value:[0, 0]"),
    Case("alarm_survives", "signal.alarm(1); time.sleep(60)", "killed:wall|killed:crash"),
    Case("interval_timer", "signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01); time.sleep(60)", "killed:wall|killed:crash"),
)
