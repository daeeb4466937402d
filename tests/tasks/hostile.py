"""Programs that want out, or want a pass they did not earn, and an outside that notices.

    python tests/tasks/hostile.py [SYSCALL …]    runs them all in the sandbox; prints as JSON what each got away with,
                                                 or {"refused": …}. System calls named by number are missing here.

A program prints BREACH where it believes that it has got somewhere; the outside looks for itself: at a file, at four
listeners, at a process of the same user, at what is left running, at the clock. Standard library only, so that any
Python of any user runs it.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from omniopd.errors import Refused
from omniopd.tasks.sandbox import inside, require_sandbox, run_program, syscalls
from omniopd.tasks.sandbox.judging import Limits, judge_function, judge_streams

TIMEOUT_S = 1.0
COLUMN = ("x86_64", "aarch64").index(platform.machine())
SECRET = "canary-" + secrets.token_hex(8)

PROGRAMS = Path(__file__).parent / "data" / "hostile.txt"
# x86_64 and aarch64
NUMBERS = {
    "open_by_handle_at": (304, 265), "openat2": (437, 437), "io_uring_setup": (425, 425), "clone": (56, 220),
    "vfork": (58, None), "clone3": (435, 435), "pidfd_send_signal": (424, 424), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "prlimit64": (302, 261), "setpriority": (141, 140), "unshare": (272, 97),
    "sched_setaffinity": (203, 122), "mount": (165, 40), "setns": (308, 268), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "perf_event_open": (298, 241), "bpf": (321, 280),
    "shmget": (29, 194), "socket": (41, 198),
    "userfaultfd": (323, 282), "init_module": (175, 105), "kexec_load": (246, 104), "msgget": (68, 186),
    "semget": (64, 190), "prctl": (157, 167), "setuid": (105, 146), "setresuid": (117, 147), "capset": (126, 91),
}  # fmt: skip
# What an escape knows: the way to everything that it shall not reach.
KNOWN = """
import ctypes, os, sys, socket, time
FILE, FOLDER, PARENT, VICTIM = {file!r}, {folder!r}, {parent}, {victim}
TCP, UDP, ABSTRACT, PATH = {tcp}, {udp}, {abstract!r}, {path!r}
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *rest):
    number = {numbers}.get(name)
    if number is not None and libc.syscall(number, *rest) >= 0: print('BREACH', name)
"""
STUB = 'def add(a, b):\n    "The sum."\n'
TESTS = "def check(add):\n    assert add(2, 3) == 5\n    assert add(1, 1) == 2\n"


def programs(kind: str) -> dict[str, str]:
    """The programs of a kind ("escape", "fake") by name."""
    parts = PROGRAMS.read_text(encoding="utf-8").split("\n=== ")[1:]
    named = (part.partition("\n") for part in parts)
    return {head.partition(": ")[2]: source for head, _, source in named if head.startswith(f"{kind}: ")}


def outcomes() -> dict[str, str]:
    """What each program got away with; "" where it was contained."""
    with ExitStack() as stack:
        outside = _Outside(stack)
        found = {name: outside.breach(outside.knowledge + source) for name, source in programs("escape").items()}
        limits = Limits(allowed=True, timeout_s=10)
        for name, source in programs("fake").items():
            found[name] = "passed" if judge_function(source, TESTS, "add", limits, STUB).passed else ""
        # A judge that passes nothing would contain every fake.
        assert judge_function("def add(a, b): return a + b", TESTS, "add", limits, STUB).passed
        assert judge_streams("print(sum(map(int, input().split())))", [("2 3", "5"), ("1 1", "2")], limits).passed
        return found


class _Outside:
    """Everything that must stay as it is, and the listeners that must hear nothing."""

    def __init__(self, stack: ExitStack) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hostile-", dir="/tmp"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o777)
        self.file = self.folder / "secret"
        self.file.write_text(SECRET)
        self.file.chmod(0o666)
        os.environ["CANARY"] = SECRET
        self.descriptor = os.open(self.file, os.O_RDWR | os.O_APPEND)
        stack.callback(os.close, self.descriptor)
        os.set_inheritable(self.descriptor, True)
        # As root, the sandbox's own user is the one whose processes are within reach.
        user = {"user": 65534} if os.getuid() == 0 else {}
        self.victim = subprocess.Popen(["sleep", "600"], **user)  # type: ignore[call-overload]
        stack.callback(lambda: (self.victim.kill(), self.victim.wait()))
        self.limits = self.victim_limits()
        self.sockets = [socket.socket(), socket.socket(type=socket.SOCK_DGRAM)]
        self.sockets += [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
        places = [("127.0.0.1", 0), ("127.0.0.1", 0), f"\0{SECRET[:12]}", str(self.folder / "socket")]
        for one, place in zip(self.sockets, places, strict=True):
            stack.enter_context(one)
            one.bind(place)
            one.setblocking(False)
            if one.type == socket.SOCK_STREAM:
                one.listen()
        (self.folder / "socket").chmod(0o777)
        self.knowledge = KNOWN.format(
            file=str(self.file), folder=str(self.folder), parent=os.getpid(), victim=self.victim.pid,
            abstract=SECRET[:12],
            numbers={name: both[COLUMN] for name, both in NUMBERS.items()},
            tcp=self.sockets[0].getsockname()[1], udp=self.sockets[1].getsockname()[1],
            path=str(self.folder / "socket"),
        )  # fmt: skip
        self.before = self.state()

    def breach(self, source: str) -> str:
        """Run one program and look around; says what is not as it was."""
        started = time.monotonic()
        result = run_program(source, allowed=True, timeout_s=TIMEOUT_S, memory_mb=1024)
        wrong = []
        if time.monotonic() - started > TIMEOUT_S + 2:
            wrong.append("time")
        if any(line.startswith("BREACH") for line in result.stdout.splitlines()):
            wrong.append(f"success: {result.stdout[:200]}")
        if SECRET in result.stdout + result.stderr:
            wrong.append("secret")
        if len(result.stdout) + len(result.stderr) > 1 << 20:
            wrong.append("output")
        if (state := self.state()) != self.before:
            wrong.append(f"outside: {state}")
        return "; ".join(wrong)

    def victim_limits(self) -> str:
        return Path(f"/proc/{self.victim.pid}/limits").read_text()

    def state(self) -> list[object]:
        file = self.file.stat()
        alive = self.victim.poll() is None and self.victim_limits() == self.limits
        return [
            self.file.read_text(), file.st_mode, file.st_uid, file.st_mtime, file.st_nlink,
            sorted(os.listdir(self.folder)), alive, os.path.lexists("/tmp/link"),
            [_heard(one) for one in self.sockets], _left_running(),
        ]  # fmt: skip


def _heard(one: socket.socket) -> bool:
    try:
        if one.type == socket.SOCK_DGRAM:
            one.recv(64)
        else:
            one.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _left_running() -> list[str]:
    """Processes of a sandbox that are still there; a killed one may take a moment to give its memory back."""
    until = time.monotonic() + 1
    while (left := _sandboxed()) and time.monotonic() < until:
        time.sleep(0.01)
    return left


def _sandboxed() -> list[str]:
    left = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if b"import marshal;c,s,p" in words and parent in ("1", str(os.getpid())):
            left.append(name)
    return left


def forbid(numbers: list[int]) -> None:
    """From now on these system calls fail here, as in a container or on a kernel that does not have them."""
    steps = [syscalls._step(syscalls._LOAD, 0)]
    for number in numbers:
        steps += [syscalls._step(syscalls._EQUAL, number, 0, 1), syscalls._step(syscalls._RETURN, syscalls.UNKNOWN)]
    steps += [syscalls._step(syscalls._RETURN, syscalls.ALLOW)]
    libc = ctypes.CDLL(None, use_errno=True)
    program = inside._Program(len(steps), b"".join(steps))
    assert libc.prctl(inside.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(inside.PR_SET_SECCOMP, inside.SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0


if __name__ == "__main__":
    if sys.argv[1:]:
        forbid(list(map(int, sys.argv[1:])))
    try:
        json.dump({"layers": list(require_sandbox(allowed=True)), "found": outcomes()}, sys.stdout)
    except Refused as error:
        json.dump({"refused": str(error)}, sys.stdout)
