"""Which system calls a program in the sandbox may make, as a filter for the kernel (seccomp, classic BPF).

A list of what is allowed, not of what is forbidden: a call that nobody thought of, or that a newer kernel brings, is
refused. What is missing here on purpose: sockets of every kind, new processes and programs, signals to anybody, ptrace
and the memory of others, mounts, namespaces, keys, bpf, io_uring, perf, and everything that changes a file's name,
owner, mode or times (Landlock does not cover the last three). Threads are allowed.
"""

from __future__ import annotations

import struct

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column below; the kernel's AUDIT_ARCH_…

# name: (x86_64, aarch64); None where the architecture has no such call.
ALLOWED: dict[str, tuple[int | None, int]] = {
    # reading and writing what is open, opening what Landlock lets through
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "close": (3, 57),
    "close_range": (436, 436), "lseek": (8, 62), "openat": (257, 56), "dup": (32, 23), "dup3": (292, 24),
    "pipe2": (293, 59), "ppoll": (271, 73), "pselect6": (270, 72), "fadvise64": (221, 223),
    "eventfd2": (290, 19),
    # looking at files
    "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291), "getdents64": (217, 61), "getcwd": (79, 17),
    "readlinkat": (267, 78), "faccessat": (269, 48), "faccessat2": (439, 439), "chdir": (80, 49), "fchdir": (81, 50),
    # memory
    "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "mincore": (27, 232), "membarrier": (324, 283),
    # threads and waiting
    "futex": (202, 98), "set_robust_list": (273, 99), "get_robust_list": (274, 100), "rseq": (334, 293),
    "set_tid_address": (218, 96), "gettid": (186, 178), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "getcpu": (309, 168), "restart_syscall": (219, 128), "exit": (60, 93), "exit_group": (231, 94),
    # its own signals: handlers, masks, timers; sending one is not allowed
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigsuspend": (130, 133),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "sigaltstack": (131, 132),
    "setitimer": (38, 103), "getitimer": (36, 102),
    # time
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101),
    "gettimeofday": (96, 169), "times": (100, 153),
    # who and where
    "getpid": (39, 172), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150),
    "getpgid": (121, 155), "getsid": (124, 156), "uname": (63, 160), "sysinfo": (99, 179), "getrusage": (98, 165),
    "getrandom": (318, 278), "umask": (95, 166),
}  # fmt: skip
# The older spellings that only x86_64 has.
ALLOWED_X86_64 = {
    "open": 2, "stat": 4, "lstat": 6, "poll": 7, "access": 21, "pipe": 22, "select": 23, "dup2": 33, "alarm": 37,
    "pause": 34, "getpgrp": 111, "readlink": 89, "getrlimit": 97, "time": 201, "getdents": 78, "arch_prctl": 158,
}  # fmt: skip

CLONE, CLONE3, IOCTL, FCNTL, PRLIMIT = (56, 220), (435, 435), (16, 29), (72, 25), (302, 261)
THREAD_FLAGS = 0x10000  # CLONE_THREAD
NAMESPACE_FLAGS = 0x7E020080  # every CLONE_NEW…
HARMLESS_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIO(N)CLEX
# F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_DUPFD_CLOEXEC; a pipe with an owner (F_SETOWN, F_SETSIG) sends it signals.
HARMLESS_FCNTLS = (0, 1, 2, 3, 4, 1030)

ALLOW, REFUSE, UNKNOWN, KILL = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38, 0x80000000  # errno EPERM; ENOSYS
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; arguments are 8 bytes each


def seccomp_filter(machine: str) -> bytes:
    """The filter for `platform.machine()`, 8 bytes an instruction. Raises KeyError for another architecture."""
    column, audit = ARCHITECTURES[machine]
    program = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, audit, skip_if_true=1),
        _step(_RETURN, KILL),
        _step(_LOAD, _NUMBER),
        # x86_64 has a second set of numbers, for x32.
        _step(_AT_LEAST, 0x40000000, skip_if_false=1),
        _step(_RETURN, REFUSE),
    ]
    for number in sorted(_allowed(column)):
        program += [_step(_EQUAL, number, skip_if_false=1), _step(_RETURN, ALLOW)]
    # glibc falls back to clone, whose flags a filter can see.
    program += [_step(_EQUAL, CLONE3[column], skip_if_false=1), _step(_RETURN, UNKNOWN)]
    program += _where(CLONE[column], 0, (THREAD_FLAGS,), THREAD_FLAGS | NAMESPACE_FLAGS)
    program += _where(IOCTL[column], 1, HARMLESS_IOCTLS)
    program += _where(FCNTL[column], 1, HARMLESS_FCNTLS)
    program += _where(PRLIMIT[column], 0, (0,))  # its own limits; lowering those of another process is an attack
    return b"".join([*program, _step(_RETURN, REFUSE)])


def _allowed(column: int) -> set[int]:
    numbers = {numbers[column] for numbers in ALLOWED.values()}
    if column == 0:
        numbers |= set(ALLOWED_X86_64.values())
    return {number for number in numbers if number is not None}


def _where(number: int, argument: int, values: tuple[int, ...], mask: int = 0xFFFFFFFF) -> list[bytes]:
    """Allow a call if the masked low half of one of its arguments has one of these values; refuse it otherwise."""
    checks = [_step(_LOAD, _ARGUMENTS + 8 * argument), _step(_AND, mask)]
    for value in values:
        checks += [_step(_EQUAL, value, skip_if_false=1), _step(_RETURN, ALLOW)]
    checks += [_step(_RETURN, REFUSE)]
    return [_step(_EQUAL, number, skip_if_false=len(checks)), *checks]


def _step(code: int, value: int, skip_if_true: int = 0, skip_if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, skip_if_true, skip_if_false, value)
