"""Programs that nobody has read run, and get at nothing, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from omniopd.errors import Refused
from omniopd.tasks.sandbox import require_sandbox, run_program, running, syscalls

HOSTILE = Path(__file__).with_name("hostile.py")
ROOT = Path(__file__).parents[2]
USER = 1000
DEEP = """
import sys, threading
sys.setrecursionlimit(10**6)
threading.stack_size(128 << 20)
f = lambda n: n and 1 + f(n - 1)
thread = threading.Thread(target=lambda: print(f(50000)))
thread.start()
thread.join()
"""
UNSHARE = {"x86_64": 272, "aarch64": 97}
LANDLOCK, PRCTL = 444, {"x86_64": 157, "aarch64": 167}


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(running.SWITCH, "1")


def run(source: str, stdin: str = "", **limits: Any) -> running.ProgramResult:
    return run_program(source, stdin, allowed=True, **limits)


def hostile(*forbidden: int, user: int | None = None) -> dict[str, Any]:
    python, who = sys.executable, {}
    if user is not None:
        python, who = python_of(user), {"user": user, "group": user, "extra_groups": []}
    done = subprocess.run(
        [python, "-B", str(HOSTILE), *map(str, forbidden)],
        env={"PYTHONPATH": str(ROOT), running.SWITCH: "1", "PATH": os.environ["PATH"]},
        cwd="/", capture_output=True, text=True, timeout=300, **who,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def python_of(user: int) -> str:
    """A Python that an ordinary user can start here: this one may lie in root's home."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    for python in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        if python is None:
            continue
        imports = [python, "-B", "-c", "import sys; assert sys.version_info >= (3, 11); import omniopd.tasks.sandbox"]
        try:
            done = subprocess.run(
                imports, env={"PYTHONPATH": str(ROOT)}, cwd="/", capture_output=True,
                user=user, group=user, extra_groups=[],
            )  # fmt: skip
        except PermissionError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip("no Python here that an ordinary user can start and that can read this checkout")


def contained(outcome: dict[str, Any]) -> None:
    assert "refused" not in outcome
    assert {name: breach for name, breach in outcome["found"].items() if breach} == {}
    assert len(outcome["found"]) == 61
    assert {"limits", "no-new-privileges", "landlock", "seccomp"} <= set(outcome["layers"])


def test_hostile_programs_are_contained() -> None:
    outcome = hostile()
    contained(outcome)
    assert ("user" in outcome["layers"]) == (os.getuid() == 0)


def test_hostile_programs_of_an_ordinary_user_are_contained() -> None:
    outcome = hostile(user=USER)
    contained(outcome)
    assert "user" not in outcome["layers"]


def test_hostile_programs_are_contained_without_namespaces() -> None:
    outcome = hostile(UNSHARE[platform.machine()], user=USER)
    contained(outcome)
    assert outcome["layers"] == ["limits", "no-new-privileges", "landlock", "seccomp"]


@pytest.mark.parametrize("missing", [LANDLOCK, PRCTL[platform.machine()]], ids=["landlock", "seccomp"])
def test_without_a_layer_nothing_runs(missing: int) -> None:
    sentence = "the sandbox could not be built, so the program was not run"
    assert hostile(missing)["refused"].startswith(sentence)


@pytest.mark.parametrize(
    ("allowed", "environment", "sentence"),
    [
        (False, "1", r"is off: allow it in the settings \(task\.run_programs = true\)"),
        (True, "", r"is off: set OMNIOPD_RUN_PROGRAMS=1 in the environment \(it is ''\)"),
        (False, "yes", "is off: set OMNIOPD_RUN_PROGRAMS=1 .* and allow it in the settings"),
    ],
)
def test_two_switches_must_be_on(
    allowed: bool, environment: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(running.SWITCH, environment)
    with pytest.raises(Refused, match=sentence):
        require_sandbox(allowed)
    with pytest.raises(Refused, match=sentence):
        run_program("print(1)", allowed=allowed)


def test_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    running._layer_settings.cache_clear()
    try:
        with pytest.raises(Refused, match="on riscv64: grade code on Linux, on x86_64 or aarch64"):
            run("print(1)")
    finally:
        running._layer_settings.cache_clear()


def test_a_program_reads_prints_and_ends() -> None:
    result = run("import sys\nprint(sum(map(int, input().split())))\nsys.exit(3)", "20 22\n")
    assert (result.stdout, result.stderr, result.exit_code, result.timed_out) == ("42\n", "", 3, False)
    assert result.layers == require_sandbox(allowed=True)
    assert run("print('ä€😀')").stdout == "ä€😀\n"
    assert run("import sys; print(len(sys.stdin.read()))", "x" * 3_000_000).stdout == "3000000\n"
    failed = run("print(1)\nprint(1 / 0)")
    assert (failed.stdout, failed.exit_code) == ("1\n", 1)
    assert failed.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert run("import ctypes; ctypes.string_at(0)").exit_code == -11


def test_limits_end_a_program() -> None:
    late = run("print('begun', flush=True)\nwhile True: pass", timeout_s=2)
    assert (late.stdout, late.exit_code, late.timed_out) == ("begun\n", -9, True)
    assert late.seconds < 4
    loud = run("while True: print('x' * 100)")
    assert (len(loud.stdout), loud.output_capped, loud.timed_out) == (1024 * 1024, True, False)
    assert not loud.ended_well
    big = run("x = bytearray(200 << 20)", memory_mb=128)
    assert big.stderr.endswith("MemoryError\n")
    assert run("x = bytearray(200 << 20)", memory_mb=512).ended_well


def test_what_solutions_need_is_there() -> None:
    assert run(DEEP).stdout == "50000\n"
    modules = "bisect, collections, decimal, fractions, functools, hashlib, heapq, itertools, json, math, random, re"
    assert run(f"import {modules}, string, typing, dataclasses, datetime, copy; print(random.random() < 1)").ended_well


def test_programs_run_side_by_side_and_leave_no_descriptor() -> None:
    require_sandbox(allowed=True)
    before = sorted(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: run(f"print({n})"), range(16)))
    assert [int(result.stdout) for result in results] == list(range(16))
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_lets_through_what_is_listed_and_nothing_else(machine: str) -> None:
    column, audit = syscalls.ARCHITECTURES[machine]
    program = syscalls.seccomp_filter(machine)
    allowed = syscalls._allowed(column)
    named = {
        "clone": syscalls.CLONE, "ioctl": syscalls.IOCTL, "fcntl": syscalls.FCNTL, "prlimit": syscalls.PRLIMIT,
    }  # fmt: skip
    for number in range(600):
        wanted = number in allowed
        if number not in {columns[column] for columns in named.values()}:
            assert (verdict(program, audit, number) == syscalls.ALLOW) == wanted
    assert verdict(program, audit, 1 << 30) == syscalls.REFUSE
    assert verdict(program, audit ^ 1, min(allowed)) == syscalls.KILL
    threads, fork, namespace = 0x3D0F00, 17, 0x3D0F00 | 0x10000000
    answers = [verdict(program, audit, named["clone"][column], flags) for flags in (threads, fork, namespace)]
    assert answers == [syscalls.ALLOW, syscalls.REFUSE, syscalls.REFUSE]
    assert verdict(program, audit, named["prlimit"][column], 0) == syscalls.ALLOW
    assert verdict(program, audit, named["prlimit"][column], 1) == syscalls.REFUSE
    assert verdict(program, audit, named["ioctl"][column], 0, 0x5412) == syscalls.REFUSE
    duplicate, set_owner, set_signal = 1030, 8, 10
    assert verdict(program, audit, named["fcntl"][column], 0, duplicate) == syscalls.ALLOW
    assert verdict(program, audit, named["fcntl"][column], 0, set_owner) == syscalls.REFUSE
    assert verdict(program, audit, named["fcntl"][column], 0, set_signal) == syscalls.REFUSE


def verdict(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """What the kernel's machine answers, step by step."""
    data = {0: number, 4: audit, **{16 + 8 * i: value for i, value in enumerate((*arguments, 0, 0)[:2])}}
    at = held = 0
    while True:
        code, yes, no, value = syscalls.struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        if code == syscalls._RETURN:
            return int(value)
        if code == syscalls._LOAD:
            held = data[value]
        elif code == syscalls._AND:
            held &= value
        else:
            at += yes if (held == value if code == syscalls._EQUAL else held >= value) else no
