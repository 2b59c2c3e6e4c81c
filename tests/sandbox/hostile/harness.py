"""The harness itself: lies to the agent, broken streams, values that bite."""

# ruff: noqa: E501 - a case a line
# fmt: off

from tests.sandbox.hostile.case import Case

FORGE = (
    "body = {body}\n"
    "    for fd in range(3, 64):\n"
    "        try: os.write(fd, b'OODA' + len(body).to_bytes(4, 'little') + body)\n"
    "        except OSError: pass\n"
    "    os._exit(0)"
)


def forged(name: str, body: bytes, expect: str = "killed:protocol") -> Case:
    return Case(f"forged_{name}", FORGE.format(body=repr(body)), expect)


CASES = (
    forged("empty", b""),
    forged("not_json", b"hello"),
    forged("not_utf8", b'{"status":"ok","value":"\xff"}'),
    forged("wrong_type", b'{"status":"ok","weight":"many"}'),
    forged("wrong_status", b'{"status":"fine"}'),
    forged("unknown_key", b'{"status":"ok","cpu_s":0}'),
    forged("nan_weight", b'{"status":"ok","weight":NaN}'),
    forged("negative_weight", b'{"status":"ok","weight":-1}'),
    forged("overflow", b'{"status":"ok","value":1e999}'),
    forged("huge_integer", b'{"status":"ok","value":' + b"9" * 400 + b"}"),
    forged("deep", b'{"status":"ok","value":' + b"[" * 200 + b"]" * 200 + b"}"),
    forged("wall_reason", b'{"status":"killed","reason":"wall"}'),
    forged("ok_with_reason", b'{"status":"ok","reason":"memory"}'),
    forged("no_reason", b'{"status":"error"}'),
    forged("plain_answer", b'{"status":"ok","value":1}', "value:1"),
    Case("forged_half_frame", "for fd in range(3, 64):\n        try: os.write(fd, b'OODA\\x10')\n        except OSError: pass\n    os._exit(0)", "killed:protocol|killed:exit"),
    Case("trailing_garbage", "import agent.sandbox.answer as a\n    old = a.write_all\n    a.write_all = lambda fd, data: old(fd, data + b'x' * 100000)\n    return 5", "value:5"),
    Case("second_answer", "import agent.sandbox.answer as a\n    old = a.write_all\n    a.write_all = lambda fd, data: (old(fd, data), old(fd, data))\n    return 5", "value:5"),
    Case("never_exits", "import agent.sandbox.answer as a\n    old = a.write_all\n    a.write_all = lambda fd, data: (old(fd, data), time.sleep(60))\n    return 5", "value:5"),
    Case("patched_exit", "os._exit = lambda code: time.sleep(60)\n    return 5", "value:5|killed:wall"),
    Case("patched_plain", "import agent.sandbox.execution as e\n    e.plain = lambda value, **more: value\n    return {'a': [float('nan')]}", "value:{'a': [None]}|killed:protocol|killed:result"),
    Case("patched_limit", "import agent.sandbox.answer as a\n    a.OVERHEAD_BYTES = 1 << 40\n    return 'x' * (3 << 20)", "killed:protocol"),
    Case("exit_code_120", "os._exit(120)", "killed:protocol"),
    Case("exit_code_118", "os._exit(118)", "killed:sandbox|killed:exit"),
    Case("exit_code_119", "os._exit(119)", "killed:exit"),
    Case("closes_all", "os.closerange(0, 999)\n    return 1", "killed:protocol"),
    Case("redirects_all", "n = os.open('/dev/null', os.O_RDWR)\n    for fd in range(32):\n        if fd != n: os.dup2(n, fd)\n    return 1", "killed:exit|killed:protocol"),
    Case("kills_stdout", "sys.stdout = sys.stderr = None\n    return 1", "value:1"),
    Case("stdout_that_raises", "class S:\n        def flush(self): raise SystemExit\n        write = flush\n    sys.stdout = sys.stderr = S()\n    return 1", "value:1"),
    Case("atexit", "import atexit; atexit.register(time.sleep, 60)\n    return 1", "value:1"),
    Case("destructor", "class D:\n        def __del__(self): time.sleep(60)\n    sys.d = D()\n    return 1", "value:1"),
    Case("daemon_thread", "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n    return 1", "value:1"),
    Case("trace_function", "sys.settrace(lambda *a: (_ for _ in ()).throw(SystemExit))\n    return 1", "value:1|killed:exit|killed:traceback"),
    Case("patched_builtins", "import builtins; builtins.isinstance = lambda *a: True\n    return object()", "killed:traceback|killed:result|killed:exit|killed:protocol|harmless"),
    Case("gc_meddling", "import gc\n    for o in gc.get_objects():\n        if isinstance(o, dict) and len(o) < 50: o.clear()\n    return 1", "harmless|killed:traceback|killed:exit|killed:crash|killed:protocol"),
    Case("wild_write", "ctypes.memset(ctypes.addressof(ctypes.c_char.in_dll(LIBC, 'environ')), 255, 1 << 20)\n    return 1", "harmless|killed:crash|killed:traceback|killed:exit|killed:protocol"),
    Case("dict_subclass", "class D(dict):\n        def items(self): return iter([(1, object())] * 10**9)\n    return D(a=1)", "killed:memory|killed:result|value:{'a': 1}"),
    Case("endless_items", "class D(dict):\n        def items(self):\n            while True: yield 'a', 1\n    return D(a=1)", "killed:cpu|killed:result"),
    Case("float_subclass", "class F(float):\n        def __float__(self): raise SystemExit\n    return F(1)", "value:1.0|killed:exit"),
    Case("string_subclass", "class S(str):\n        def __str__(self): return 5\n    return S('x')", "killed:traceback|value:x"),
    Case("array_subclass", "import numpy as np\n    class A(np.ndarray):\n        def tolist(self): return object()\n    return np.ones(3).view(A)", "killed:traceback|killed:result|killed:protocol|value:[1.0, 1.0, 1.0]"),
    Case("escape_codes", "print('\\x1b]0;owned\\x07')\n    return 1", "value:1"),
    Case("null_bytes", "return 'a\\0b'", "harmless"),
    Case("many_keys", "return {str(i): 0 for i in range(10**6)}", "killed:output|killed:result|killed:cpu|killed:memory"),
    Case("exception_with_hostile_repr", "class E(Exception):\n        def __str__(self): os._exit(7)\n    raise E", "killed:exit"),
    Case("exception_chain", "e = None\n    for i in range(10**5):\n        n = ValueError(i); n.__cause__ = e; e = n\n    raise e", "killed:traceback|killed:cpu|killed:crash|killed:memory"),
    Case("keyboard_interrupt", "raise KeyboardInterrupt", "killed:traceback"),
    Case("generator_exit", "raise GeneratorExit", "killed:traceback"),
    Case("stop_iteration", "raise StopIteration", "killed:traceback"),
    Case("bare_base_exception", "raise BaseException", "killed:traceback"),
    Case("string_code", "return eval(compile('1+1', 'x', 'eval'))", "value:2"),
    Case("faulthandler", "import faulthandler; faulthandler._sigsegv()", "killed:crash|killed:result"),
)
