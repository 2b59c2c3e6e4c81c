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
