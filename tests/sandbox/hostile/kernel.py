"""Kernel interfaces: the doors beside files, sockets and processes."""

# ruff: noqa: E501 - a case a line
# fmt: off

from tests.sandbox.hostile.case import Case

X86 = "if platform.machine() != 'x86_64': import os as o; o._exit(3)\n    "
MACHINE_CODE = (
    "return denied(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ|mmap.PROT_WRITE|mmap.PROT_EXEC))"
)

CASES = (
    *(
        Case(name, f"return call('{name}', {arguments})")
        for name, arguments in {
            "bpf": "0, b'\\0' * 72, 72",
            "perf_event_open": "b'\\0' * 112, 0, -1, -1, 0",
            "userfaultfd": "0",
            "keyctl": "0, -3, 0, 0, 0",
            "add_key": "b'user', b'x', b'y', 1, -3",
            "request_key": "b'user', b'x', None, 0",
            "kexec_load": "0, 0, None, 0",
            "init_module": "b'', 0, b''",
            "finit_module": "0, b'', 0",
            "delete_module": "b'x', 0",
            "iopl": "3",
            "ioperm": "0, 1, 1",
            "modify_ldt": "0, b'\\0' * 16, 16",
            "seccomp": "0, 0, None",
            "landlock_create_ruleset": "None, 0, 1",
            "quotactl": "0, None, 0, None",
            "swapon": "b'/tmp/x', 0",
            "reboot": "0xfee1dead, 672274793, 0, None",
            "sethostname": "b'x', 1",
            "setdomainname": "b'x', 1",
            "settimeofday": "b'\\0' * 16, None",
            "clock_settime": "0, b'\\0' * 16",
            "adjtimex": "b'\\0' * 208",
            "syslog": "3, b'\\0' * 100, 100",
            "acct": "None",
            "vhangup": "",
            "shmget": "0, 4096, 0o1600",
            "shmat": "0, 0, 0",
            "semget": "0, 1, 0o1600",
            "msgget": "0, 0o1600",
            "mq_open": "b'x', 0o102, 0o600, None",
            "io_setup": "1, b'\\0' * 8",
            "mbind": "0, 0, 0, None, 0, 0",
            "move_pages": "0, 0, None, None, None, 0",
            "migrate_pages": "0, 0, None, None",
            "mlockall": "3",
            "memfd_secret": "0",
            "pkey_alloc": "0, 0",
            "lookup_dcookie": "0, b'\\0' * 100, 100",
            "fanotify_init": "0, 0",
            "signalfd4": "-1, b'\\0' * 8, 8, 0",
            "timerfd_create": "1, 0",
            "timer_create": "1, None, b'\\0' * 8",
            "splice": "0, None, 1, None, 1, 0",
            "vmsplice": "1, None, 0, 0",
            "sync": "",
            "syncfs": "1",
            "uselib": "b'x'",
            "ustat": "1, b'\\0' * 32",
            "sysfs": "1, b'ext4', 0",
            "getcpu": "None, None, None",
        }.items()
        if name != "getcpu"
    ),
    Case("terminal_injection", "import fcntl; return denied(fcntl.ioctl, 0, 0x5412, b'x')"),
    Case("async_owner", "import fcntl; return denied(fcntl.fcntl, 0, 8, params.agent_pid)"),
    Case("lease", "import fcntl; return denied(fcntl.fcntl, 0, 1024, 0)"),
    Case("pipe_size", "import fcntl; return denied(fcntl.fcntl, 1, 1031, 1 << 20)"),
    Case("write_and_execute", MACHINE_CODE),
    Case("make_executable", "m = mmap.mmap(-1, 4096); a = ctypes.addressof(ctypes.c_char.from_buffer(m)); return call('mprotect', a, 4096, 5)"),
    Case("x32_entry", X86 + "LIBC.syscall(ctypes.c_long(0x40000000 + 39))", "killed:syscall|killed:exit"),
    Case("host_name", "return platform.node()", "value:sandbox", degraded="harmless"),
)
