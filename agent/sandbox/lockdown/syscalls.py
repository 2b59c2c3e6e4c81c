"""System call numbers of the two architectures: ``name x86-64 aarch64``, ``-`` where there is none.

Source: the kernel's ``asm/unistd_64.h`` and ``asm-generic/unistd.h``; a test compares them with the
headers of the machine it runs on. Only calls that a filter, a probe or we ourselves name are here.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["AARCH64", "ARCHITECTURES", "X86_64", "number", "numbers_of"]

X86_64 = "x86_64"
AARCH64 = "aarch64"
ARCHITECTURES = (X86_64, AARCH64)

_TABLE = """
read 0 63; write 1 64; readv 19 65; writev 20 66; pread64 17 67; pwrite64 18 68; preadv 295 69;
pwritev 296 70; lseek 8 62; close 3 57; close_range 436 436; fstat 5 80; newfstatat 262 79; stat 4
-; lstat 6 -; statx 332 291; access 21 -; faccessat 269 48; faccessat2 439 439; open 2 -; openat
257 56; readlink 89 -; readlinkat 267 78; getdents64 217 61; getcwd 79 17; chdir 80 49; fchdir 81
50; mkdir 83 -; mkdirat 258 34; unlink 87 -; unlinkat 263 35; rmdir 84 -; rename 82 -; renameat
264 38; renameat2 316 276; ftruncate 77 46; truncate 76 45; fallocate 285 47; fsync 74 82;
fdatasync 75 83; fadvise64 221 223; dup 32 23; dup2 33 -; dup3 292 24; pipe 22 -; pipe2 293 59;
poll 7 -; ppoll 271 73; select 23 -; pselect6 270 72; epoll_create1 291 20; epoll_ctl 233 21;
epoll_wait 232 -; epoll_pwait 281 22; eventfd2 290 19; fcntl 72 25; ioctl 16 29; mmap 9 222;
munmap 11 215; mremap 25 216; mprotect 10 226; brk 12 214; madvise 28 233; mincore 27 232; msync
26 227; futex 202 98; set_robust_list 273 99; get_robust_list 274 100; rseq 334 293;
set_tid_address 218 96; gettid 186 178; getpid 39 172; getppid 110 173; getuid 102 174; geteuid
107 175; getgid 104 176; getegid 108 177; getgroups 115 158; getpgrp 111 -; getpgid 121 155;
getsid 124 156; getresuid 118 148; getresgid 120 150; getrusage 98 165; times 100 153;
clock_gettime 228 113; clock_getres 229 114; clock_nanosleep 230 115; nanosleep 35 101;
gettimeofday 96 169; time 201 -; sched_yield 24 124; sched_getaffinity 204 123; sched_getparam 143
121; sched_getscheduler 145 120; sched_get_priority_max 146 125; sched_get_priority_min 147 126;
getcpu 309 168; rt_sigaction 13 134; rt_sigprocmask 14 135; rt_sigreturn 15 139; rt_sigpending 127
136; rt_sigsuspend 130 133; rt_sigtimedwait 128 137; sigaltstack 131 132; tgkill 234 131; exit 60
93; exit_group 231 94; getrandom 318 278; uname 63 160; sysinfo 99 179; prctl 157 167; arch_prctl
158 -; clone 56 220; clone3 435 435; setitimer 38 103; getitimer 36 102; alarm 37 -; pause 34 -;
umask 95 166; getrlimit 97 163; setrlimit 160 164; prlimit64 302 261; restart_syscall 219 128;
membarrier 324 283; recvmsg 47 212; sendmsg 46 211; flock 73 32; execve 59 221; execveat 322 281;
fork 57 -; vfork 58 -; wait4 61 260; waitid 247 95; kill 62 129; tkill 200 130; setpgid 109 154;
setsid 112 157; getpriority 140 141; setpriority 141 140; memfd_create 319 279; socketpair 53 199;
sched_setaffinity 203 122; sched_setscheduler 144 119; sched_setparam 142 118; sched_getattr 315
275; sched_rr_get_interval 148 127; timer_create 222 107; timer_settime 223 110; timer_gettime 224
108; timer_getoverrun 225 109; timer_delete 226 111; timerfd_create 283 85; timerfd_settime 286
86; timerfd_gettime 287 87; signalfd4 289 74; inotify_init1 294 26; inotify_add_watch 254 27;
inotify_rm_watch 255 28; chmod 90 -; fchmod 91 52; fchmodat 268 53; utimensat 280 88; symlink 88
-; symlinkat 266 36; link 86 -; linkat 265 37; statfs 137 43; fstatfs 138 44; getxattr 191 8;
lgetxattr 192 9; fgetxattr 193 10; listxattr 194 11; get_mempolicy 239 236; mbind 237 235;
set_mempolicy 238 237; capget 125 90; mlock 149 228; munlock 150 229; mlock2 325 284;
rt_sigqueueinfo 129 138; rt_tgsigqueueinfo 297 240; shutdown 48 210; sendto 44 206; recvfrom 45
207; getsockname 51 204; getpeername 52 205; getsockopt 55 209; setsockopt 54 208; epoll_create
213 -; epoll_pwait2 441 441; eventfd 284 -; signalfd 282 -; preadv2 327 286; pwritev2 328 287;
copy_file_range 326 285; sendfile 40 71; splice 275 76; tee 276 77; sync_file_range 277 84;
pidfd_open 434 434; pidfd_send_signal 424 424; futex_waitv 449 449; get_thread_area 211 -;
set_thread_area 205 -; sched_setattr 314 274; readahead 187 213; getdents 78 -; creat 85 -; mknod
133 -; mknodat 259 33; utime 132 -; utimes 235 -; futimesat 261 -; socket 41 198; unshare 272 97;
ptrace 101 117; mount 165 40; setns 308 268; bpf 321 280; io_uring_setup 425 425; keyctl 250 219;
add_key 248 217; userfaultfd 323 282; perf_event_open 298 241; landlock_create_ruleset 444 444;
landlock_add_rule 445 445; landlock_restrict_self 446 446; seccomp 317 277; pivot_root 155 41;
mount_setattr 442 442
"""


def _parse() -> Mapping[str, Mapping[str, int]]:
    by_machine: dict[str, dict[str, int]] = {machine: {} for machine in ARCHITECTURES}
    for row in " ".join(_TABLE.split()).split(";"):
        name, *numbers = row.split()
        for machine, text in zip(ARCHITECTURES, numbers, strict=True):
            if text != "-":
                by_machine[machine][name] = int(text)
    return {machine: MappingProxyType(table) for machine, table in by_machine.items()}


_NUMBERS = _parse()


def numbers_of(machine: str) -> Mapping[str, int]:
    """Return the numbers of an architecture as ``platform.machine()`` names it.

    Raises: KeyError, for an architecture that no filter was written for.
    """
    return _NUMBERS[machine]


def number(name: str, machine: str) -> int:
    """Return one call's number.

    Raises: KeyError, when the architecture or the call on it is unknown.
    """
    return _NUMBERS[machine][name]
