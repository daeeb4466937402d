"""Starts sandboxed processes, listens to them, ends them: `run_program`, and `run_programs` for several that talk.

A process is a bare interpreter of this Python that confines itself (`inside.py`) and then runs the program; it gets no
environment, no descriptors but its three streams and those named, and is killed as a group at the time limit. What it
writes is read up to a cap. Nothing here trusts it: a process that does not report its layers counts as no sandbox.
"""

from __future__ import annotations

import functools
import marshal
import math
import os
import platform
import selectors
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omniopd.errors import Refused
from omniopd.tasks.sandbox.syscalls import ARCHITECTURES, seccomp_filter

SWITCH = "OMNIOPD_RUN_PROGRAMS"
OUTPUT_KB = 1024
_START = "import marshal;c,s,p=marshal.load(open({payload},'rb'));n={{'__name__':'inside'}};exec(c,n);n['enter'](s,p)"


@dataclass(frozen=True, slots=True)
class Program:
    """Python source, what it reads from stdin, and descriptors that it inherits under their numbers.

    The descriptors are given away: they are closed here as soon as the programs have started, or where none may.
    """

    source: str
    stdin: str = ""
    descriptors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """How a program ended. `exit_code` is negative for a signal: -9 after a kill, by the time limit for one.

    `stdout` and `stderr` hold what came before the cap; bytes that are not UTF-8 are replaced. `layers` names the
    layers of its sandbox, `seconds` the wall time with the sandbox's own start.
    """

    stdout: str
    stderr: str
    exit_code: int
    timed_out: bool
    output_capped: bool
    seconds: float
    layers: tuple[str, ...]

    @property
    def ended_well(self) -> bool:
        return self.exit_code == 0 and not self.timed_out and not self.output_capped


def run_program(
    source: str,
    stdin: str = "",
    *,
    allowed: bool = False,
    timeout_s: float = 10.0,
    memory_mb: int = 1024,
) -> ProgramResult:
    """Run a Python program that nobody has read. `allowed` is the caller's setting, the first of two switches.

    `timeout_s` counts wall time, `memory_mb` limits its address space, OUTPUT_KB stdout and stderr together; a
    program that goes beyond any of them is ended. Raises Refused as `require_sandbox` does.
    """
    [result] = run_programs([Program(source, stdin)], allowed=allowed, timeout_s=timeout_s, memory_mb=memory_mb)
    return result


def run_programs(
    programs: Sequence[Program],
    *,
    allowed: bool = False,
    timeout_s: float = 10.0,
    memory_mb: int = 1024,
) -> list[ProgramResult]:
    """Run several programs at once, each in a sandbox of its own; when the first has ended, the others are killed.

    Limits are each program's. Raises Refused where programs are not allowed or a layer of a sandbox is missing.
    """
    with ExitStack() as stack:
        with ExitStack() as given:
            for descriptor in {d for program in programs for d in program.descriptors}:
                given.callback(os.close, descriptor)
            check_switches(allowed)
            settings = {"memory_mb": memory_mb, "cpu_s": math.ceil(timeout_s) + 1, **_layer_settings()}
            started = time.monotonic()
            running = [stack.enter_context(_Running(program, settings, OUTPUT_KB << 10)) for program in programs]
        _listen(running, started + timeout_s)
        seconds = time.monotonic() - started
    return [one.result(seconds) for one in running]


def require_sandbox(allowed: bool = False) -> tuple[str, ...]:
    """The layers that programs run in here; raises Refused, with the way out, where they may not or cannot run.

    Programs run only where they were switched on twice, by a setting (`allowed`) and in the environment
    (OMNIOPD_RUN_PROGRAMS=1), on Linux with Landlock and seccomp. Namespaces are used where the kernel gives them.
    """
    check_switches(allowed)
    return _tried()


def check_switches(allowed: bool) -> None:
    """Raises Refused unless both switches are on."""
    environment = os.environ.get(SWITCH)
    if not allowed or environment != "1":
        missing = [f"set {SWITCH}=1 in the environment (it is {environment!r})"] if environment != "1" else []
        missing += [] if allowed else ["allow it in the settings (task.run_programs = true)"]
        raise Refused(
            f"running programs that a model wrote is off: {' and '.join(missing)}, if you accept the remaining risk"
        )


@functools.cache
def _tried() -> tuple[str, ...]:
    # Imports that programs begin with: the interpreter's library must be readable from the inside.
    [result] = run_programs([Program("import collections, heapq, json, math, random, re, typing")], allowed=True)
    if not result.ended_well:
        raise Refused(
            f"programs cannot run in the sandbox here: Python's own library below {sysconfig.get_path('stdlib')} "
            f"does not load in it ({result.stderr.strip().splitlines()[-1:] or [result.exit_code]}); use a Python that "
            "every user can read"
        )
    return result.layers


@functools.cache
def _layer_settings() -> dict[str, Any]:
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ARCHITECTURES or sys.maxsize < 2**32:
        raise Refused(
            f"programs run in a sandbox of Linux's Landlock and seccomp, and this is {sys.platform} on {machine}: "
            f"grade code on Linux, on {' or '.join(ARCHITECTURES)}"
        )
    prefix = os.path.realpath(sys.base_prefix)
    library = os.path.realpath(sysconfig.get_path("stdlib"))
    platform_library = os.path.realpath(sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}))
    shared = [os.path.join(prefix, "lib"), "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"]
    devices = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"]
    wanted = [library, platform_library, *shared, "/etc/ld.so.cache", *devices]
    paths = sorted({path for path in wanted if os.path.exists(path)}, key=lambda path: (len(path), path))
    links = {path: os.readlink(path) if os.path.islink(path) else "" for path in paths}
    return {
        "machine": machine,
        "filter": seccomp_filter(machine),
        "parent": os.getpid(),
        "readable": paths,
        "tree": [(path, links[path]) for path in paths],
    }


@functools.cache
def _code() -> Any:
    path = Path(__file__).with_name("inside.py")
    return compile(path.read_text(encoding="utf-8"), "inside.py", "exec", dont_inherit=True)


@dataclass(eq=False, slots=True)
class _Running:
    """One process and what was read from it so far; killed, reaped and closed at the end of its `with`."""

    program: Program
    settings: dict[str, Any]
    cap: int
    process: subprocess.Popen[bytes] | None = None
    handle: int = -1  # becomes readable when the process ends
    report: int = -1
    read: dict[str, bytearray] = field(default_factory=dict)
    streams: dict[int, str] = field(default_factory=dict)
    timed_out: bool = False
    output_capped: bool = False

    def __enter__(self) -> _Running:
        self.report, theirs = os.pipe()
        settings = {**self.settings, "report": theirs, "parent": os.getpid()}
        payload = _file(marshal.dumps((_code(), settings, self.program.source)))
        stdin = _file(self.program.stdin.encode("utf-8", "surrogatepass"))
        # The base interpreter: a virtual environment's adds packages and start-up files.
        interpreter = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
        try:
            self.process = subprocess.Popen(
                [interpreter, "-I", "-S", "-B", "-X", "utf8", "-c", _START.format(payload=payload)],
                stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={}, cwd="/", start_new_session=True,
                pass_fds=(theirs, payload, *self.program.descriptors),
            )  # fmt: skip
        except OSError as error:
            os.close(self.report)
            raise Refused(f"the sandbox's interpreter {interpreter} cannot be started: {error.strerror}") from error
        finally:
            for descriptor in (theirs, payload, stdin):
                os.close(descriptor)
        self.handle = os.pidfd_open(self.process.pid)
        out, err = self.process.stdout, self.process.stderr
        assert out is not None
        assert err is not None
        self.streams = {out.fileno(): "stdout", err.fileno(): "stderr", self.report: "report"}
        self.read = {name: bytearray() for name in self.streams.values()}
        for descriptor in self.streams:
            os.set_blocking(descriptor, False)
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        assert self.process is not None
        self.process.wait()
        self.drain()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        os.close(self.report)
        os.close(self.handle)

    def kill(self) -> None:
        """The whole group at once; it exists as long as its first process was not reaped."""
        assert self.process is not None
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def take(self, descriptor: int) -> bool:
        """Read what there is; False at the end of the stream. Beyond the cap the process is killed."""
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return True
        name = self.streams[descriptor]
        room = self.cap - (len(self.read["stdout"]) + len(self.read["stderr"]) if name != "report" else 0)
        self.read[name] += data[: max(0, room)]
        if len(data) > room and not self.output_capped:
            self.output_capped = True
            self.kill()
        return bool(data)

    def drain(self) -> None:
        """What the pipes still hold, at most what a pipe can hold."""
        for descriptor in self.streams:
            for _ in range(32):
                before = len(self.read[self.streams[descriptor]])
                if not self.take(descriptor) or len(self.read[self.streams[descriptor]]) == before:
                    break

    def result(self, seconds: float) -> ProgramResult:
        """After its end. Raises Refused where its sandbox did not stand."""
        assert self.process is not None
        word, _, rest = self.read["report"].decode("utf-8", "replace").partition(" ")
        if word != "ok" and not self.timed_out:
            reason = rest or self.read["stderr"].decode("utf-8", "replace").strip().rpartition("\n")[2] or "no word"
            raise Refused(
                f"the sandbox could not be built, so the program was not run ({reason}): run on Linux 5.13 or newer "
                "with Landlock and seccomp, outside of containers that forbid them"
            )
        return ProgramResult(
            self.read["stdout"].decode("utf-8", "replace"),
            self.read["stderr"].decode("utf-8", "replace"),
            int(self.process.returncode),
            self.timed_out,
            self.output_capped,
            seconds,
            tuple(rest.split()) if word == "ok" else (),
        )


def _listen(running: Sequence[_Running], deadline: float) -> None:
    """Read from all until the first has ended, or time is up, and then end all."""
    with selectors.DefaultSelector() as selector:
        for one in running:
            for descriptor in one.streams:
                selector.register(descriptor, selectors.EVENT_READ, one)
        selector.register(running[0].handle, selectors.EVENT_READ, None)
        while (left := deadline - time.monotonic()) > 0:
            ready = selector.select(left)
            for key, _ in ready:
                if key.data is not None and not key.data.take(key.fd):
                    selector.unregister(key.fd)
            if any(key.data is None for key, _ in ready):
                break
        else:
            running[0].timed_out = True
    for one in running:
        one.kill()


def _file(data: bytes) -> int:
    """An anonymous file in memory that holds `data`, to be read from its beginning."""
    descriptor = os.memfd_create("omniopd")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
