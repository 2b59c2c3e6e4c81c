"""Files: what is not the interpreter's or its own scratch does not exist, or does not open."""

# ruff: noqa: E501 - a case a line
# fmt: off

from tests.sandbox.hostile.case import Case

CASES = (
    Case("read_secret", "return denied(read, params.secret)"),
    Case("stat_secret", "return denied(os.stat, params.secret)", degraded="harmless"),
    Case("write_secret", "return denied(open, params.secret, 'w')"),
    Case("append_secret", "return denied(open, params.secret, 'a')"),
    Case("unlink_secret", "return denied(os.unlink, params.secret)"),
    Case("rename_secret", "return denied(os.rename, params.secret, params.secret + 'x')"),
    Case("truncate_secret", "return denied(os.truncate, params.secret, 0)"),
    Case("chmod_secret", "return denied(os.chmod, params.secret, 0o777)"),
    Case("chown_secret", "return denied(os.chown, params.secret, 1, 1)"),
    Case("utime_secret", "return denied(os.utime, params.secret, (0, 0))"),
    Case("link_secret", "return denied(os.link, params.secret, '/tmp/link')"),
    Case(
        "symlink_to_secret",
        "return denied(lambda: (os.symlink(params.secret, 'link'), read('link')))",
    ),
    Case("open_path_secret", "return denied(os.open, params.secret, os.O_PATH)",
         degraded="harmless"),
    Case("create_beside_secret", "return denied(open, params.secret + '.new', 'w')"),
    Case("setxattr_secret", "return denied(os.setxattr, params.secret, 'user.x', b'1')"),
    Case("list_folder_of_secret", "return denied(os.listdir, os.path.dirname(params.secret))"),
    Case("dotdot", "return denied(read, '/usr/lib/' + '../' * 20 + params.secret)"),
    Case("etc_passwd", "return denied(read, '/etc/passwd')"),
    Case("etc_shadow", "return denied(read, '/etc/shadow')"),
    Case("etc_hostname", "return denied(read, '/etc/hostname')"),
    Case("proc_self_environ", "return denied(read, '/proc/self/environ')"),
    Case("proc_1_environ", "return denied(read, '/proc/1/environ')"),
    Case("proc_agent_environ", "return denied(read, f'/proc/{params.agent_pid}/environ')"),
    Case("proc_agent_mem", "return denied(open, f'/proc/{params.agent_pid}/mem', 'r+b')"),
    Case("proc_agent_fd", "return denied(os.listdir, f'/proc/{params.agent_pid}/fd')"),
    Case("proc_agent_root", "return denied(os.listdir, f'/proc/{params.agent_pid}/root')"),
    Case("proc_agent_cwd", "return denied(os.listdir, f'/proc/{params.agent_pid}/cwd')"),
    Case("proc_self_mem", "return denied(open, '/proc/self/mem', 'r+b')"),
    Case("proc_self_maps", "return denied(read, '/proc/self/maps')"),
    Case("proc_mounts", "return denied(read, '/proc/mounts')"),
    Case("proc_sys", "return denied(open, '/proc/sys/kernel/hostname', 'w')"),
    Case("proc_sysrq", "return denied(open, '/proc/sysrq-trigger', 'w')"),
    Case("sys_net", "return denied(os.listdir, '/sys/class/net')"),
    Case("cgroup", "return denied(os.listdir, '/sys/fs/cgroup')"),
    Case("list_root", "return denied(os.listdir, '/')"),
    Case("list_home", "return denied(os.listdir, '/root')"),
    Case("list_dev", "return denied(os.listdir, '/dev')"),
    Case("dev_mem", "return denied(open, '/dev/mem', 'rb')"),
    Case("dev_shm", "return denied(open, '/dev/shm/x', 'w')"),
    Case("dev_tty", "return denied(open, '/dev/tty', 'w')"),
    Case("dev_fuse", "return denied(open, '/dev/fuse', 'r+b')"),
    Case("dev_kvm", "return denied(open, '/dev/kvm', 'r+b')"),
    Case("run_sockets", "return denied(os.listdir, '/run')"),
    Case("var_log", "return denied(os.listdir, '/var/log')"),
    Case("write_root", "return denied(open, '/new', 'w')"),
    Case("write_usr_lib", "return denied(open, '/usr/lib/new', 'w')"),
    Case("write_interpreter", "return denied(open, os.path.realpath(sys.executable), 'r+b')"),
    Case("write_numpy", "import numpy; return denied(open, numpy.__file__, 'a')"),
    Case("write_stdlib", "return denied(open, os.__file__ + 'x', 'w')"),
    Case("mkdir_root", "return denied(os.mkdir, '/new')"),
    Case("chroot", "return denied(os.chroot, '/tmp')"),
    Case("mount_proc", "return call('mount', b'proc', b'/tmp', b'proc', 0, None)"),
    Case("mount_bind", "return call('mount', b'/usr', b'/tmp', None, 4096, None)"),
    Case("remount_root_writable", "return call('mount', None, b'/', None, 32 | 4096, None)"),
    Case("umount_scratch", "return call('umount2', b'/tmp', 2)"),
    Case("pivot_root", "return call('pivot_root', b'/tmp', b'/tmp')"),
    Case("open_tree", "return call('open_tree', -100, b'/', 1)"),
    Case("fsopen", "return call('fsopen', b'tmpfs', 0)"),
    Case("move_mount", "return call('move_mount', -100, b'/', -100, b'/tmp', 0)"),
    Case("name_to_handle", "return call('name_to_handle_at', -100, b'/', b'x' * 128, b'y' * 8, 0)"),
    Case("open_by_handle", "return call('open_by_handle_at', -100, b'x' * 128, 0)"),
    Case("openat2", "return call('openat2', -100, b'/', b'\\0' * 24, 24)"),
    Case("mknod_device", "return denied(os.mknod, 'memory', 0o20666, os.makedev(1, 1))"),
    Case("mknod_fifo", "return denied(os.mkfifo, 'fifo')"),
    Case("inotify", "return call('inotify_init1', 0)"),
    Case("fanotify", "return call('fanotify_init', 0, 0)"),
    Case("statfs", "return denied(os.statvfs, '/')"),
    Case("memfd", "return denied(os.memfd_create, 'x')"),
    Case(
        "scratch_works_and_is_small",
        "open('a', 'wb').write(b'x' * 1000)\n"
        "    assert read('a') == b'x' * 100\n"
        "    with open('b', 'wb') as file:\n"
        "        return denied(lambda: [file.write(b'x' * 2**20) for _ in range(64)])",
    ),
    Case("scratch_sparse", "return denied(os.truncate, os.open('s', os.O_CREAT | os.O_RDWR), 1 << 40)"),
    Case(
        "scratch_inodes",
        "return denied(lambda: [os.close(os.open(str(i), os.O_CREAT)) for i in range(5000)])",
    ),
    Case(
        "exec_from_scratch",
        "import shutil\n"
        "    if denied(shutil.copyfile, '/bin/sh', 'sh') == 'denied': return 'denied'\n"
        "    return denied(os.execv, './sh', ['sh', '-c', 'true'])",
    ),
    Case(
        "map_code_from_scratch",
        "fd = os.open('code', os.O_CREAT | os.O_RDWR)\n"
        "    os.write(fd, b'\\xc3' * 4096)\n"
        "    return denied(mmap.mmap, fd, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    ),
    Case("setuid_file", "os.close(os.open('s', os.O_CREAT)); return denied(os.chmod, 's', 0o4755)"),
    Case("directory_descriptors", "return denied(lambda: os.open('..', os.O_RDONLY | os.O_DIRECTORY))"),
    Case("fchdir_out", "return denied(lambda: os.listdir('..'))"),
)
