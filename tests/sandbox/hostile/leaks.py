"""Leaks: nothing of the agent, of other tasks or of the last iteration can be found."""

# ruff: noqa: E501 - a case a line
# fmt: off

from tests.sandbox.hostile.case import Case

CASES = (
    # Two: the pipe of the answer, and what Python's mmap keeps of the job's sealed, read-only file.
    Case("environment", "return sorted(k for k in os.environ if 'OODIDA' in k or 'PATH' == k)", "value:[]"),
    Case("secret_in_memory", "import gc\n    hidden = 'hunter' + '2-secret'\n    own = id(hidden)\n    return any(isinstance(o, str) and hidden in o and id(o) != own for o in gc.get_objects())", "value:False"),
    Case("open_descriptors", "found = []\n    for fd in range(3, 256):\n        try: found.append((fd, os.fstat(fd).st_mode & 0o170000))\n        except OSError: pass\n    return len(found)", "value:2"),
    Case("descriptor_kinds", "return [oct(os.fstat(fd).st_mode & 0o170000) for fd in (0, 1, 2)]", "value:['0o20000', '0o10000', '0o10000']"),
    Case("scratch_is_empty", "return os.listdir('.')", "value:[]", degraded="denied"),
    Case("empty_names", "return sorted(k for k in os.environ)", "value:['HOME', 'LC_ALL', 'LC_CTYPE', 'MALLOC_ARENA_MAX', 'MKL_NUM_THREADS', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'TMPDIR']|harmless"),
    Case("environment_of_c", "LIBC.getenv.restype = ctypes.c_char_p\n    return [repr(LIBC.getenv(n)) for n in (b'OODIDA_KEY', b'PATH', b'USER', b'SSH_AUTH_SOCK')]", "value:['None', 'None', 'None', 'None']"),
    Case("no_core_files", "return denied(os.listdir, '/var/crash')"),
    Case("users_of_the_host", "import pwd; return len(pwd.getpwall())", "value:0|killed:traceback", degraded="harmless|denied"),
    Case("time_zone_files", "return denied(read, '/etc/localtime')", degraded="harmless|denied"),
    Case("sealed_job_is_read_only", "import numpy as np\n    a = data['samples']\n    try: ctypes.memset(a.ctypes.data, 0, 8)\n    except OSError: return 'denied'\n    return a[0]", "killed:crash"),
    Case("job_of_this_iteration_alone", "import gc, agent.sandbox.job as j\n    return sum(isinstance(o, j.Job) for o in gc.get_objects())", "value:0"),
    Case("rehearsal_leaves_nothing", "return ['custom_code' in sys.modules, len([k for k in sys.modules if k.startswith('custom')])]", "value:[True, 1]"),
    Case("argv", "return [a for a in sys.argv if len(a) > 2]", "value:[]"),
    Case("user", "return os.getuid() != 0", "value:True", degraded="harmless"),
    Case("groups", "return os.getgroups()", "harmless"),
    Case("agent_modules", "return [m for m in sys.modules if m.split('.')[0] in ('zmq', 'agent.link', 'cloud')]", "value:[]"),
    Case("keys_in_modules", "return 'user_lib.wire' in sys.modules", "value:False"),
    Case("working_directory", "return os.getcwd() in ('/tmp', '/scratch')", "value:True", degraded="harmless"),
    Case("other_workers_sleep", "return denied(os.listdir, '/proc')"),
    Case("boot_id", "return denied(read, '/proc/sys/kernel/random/boot_id')"),
    Case("machine_id", "return denied(read, '/etc/machine-id')"),
    Case("mac_address", "return denied(read, '/sys/class/net/eth0/address')"),
    Case("command_line", "return denied(read, '/proc/cmdline')"),
    Case("kernel_pointers", "return denied(read, '/proc/kallsyms')"),
)
