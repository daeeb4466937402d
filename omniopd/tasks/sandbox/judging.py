"""Is this program right? `judge_function` by tests that call it, `judge_streams` by what it prints for given input.

A program cannot fake a pass: what it is compared with never enters its process. Tests run in a process of their own and
ask for the function's values over a pipe; printed text is compared here. A verdict of the tests counts only with the
random word that this call gave them. Ending early, in whatever way, is a failure.
"""

from __future__ import annotations

import functools
import json
import math
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniopd.tasks.sandbox.running import Program, ProgramResult, run_program, run_programs


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a program passed, and if not, why: text of unknown origin, to be shown and nothing else."""

    passed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one run: wall seconds and MiB. `allowed` is the first of the two switches."""

    allowed: bool = False
    timeout_s: float = 10.0
    memory_mb: int = 1024


def judge_function(program: str, tests: str, entry_point: str, limits: Limits, context: str = "") -> Verdict:
    """Run `tests` against the function `entry_point` of `program`.

    Tests define `check(candidate)`, as HumanEval's do, or assert at once, using the function's name; `context` is
    code that they may use. Values that cross are plain data; where the function returns None, what it did to its
    arguments is done to the tests' as well. Raises Refused as `run_program` does.
    """
    token, calls = secrets.token_hex(16), _calls()
    asked_from, asked = os.pipe()
    answered_from, answered = os.pipe()
    tester = f"{calls}\ntest({asked}, {answered_from}, {token!r}, {context!r}, {tests!r}, {entry_point!r})"
    server = f"{calls}\nserve({asked_from}, {answered}, {program!r}, {entry_point!r})"
    judged, served = run_programs(
        [Program(tester, descriptors=(asked, answered_from)), Program(server, descriptors=(asked_from, answered))],
        allowed=limits.allowed,
        timeout_s=limits.timeout_s,
        memory_mb=limits.memory_mb,
    )
    if judged.timed_out:
        return Verdict(False, f"no answer within {limits.timeout_s:g} s")
    if served.output_capped:
        return Verdict(False, "it wrote more than is read")
    verdict = _verdict(judged, token)
    if verdict is None:
        return Verdict(False, f"the tests ended without a verdict ({_ending(judged)})")
    if not verdict.passed and verdict.reason == "the program ended before it answered":
        return Verdict(False, f"{verdict.reason} ({_ending(served)})")
    return verdict


def judge_streams(program: str, cases: Sequence[tuple[str, str]], limits: Limits) -> Verdict:
    """Run `program` once for each (input, expected output); the first difference ends it.

    Outputs are equal when their lines are, blank space at the ends apart, or else word by word, where numbers with a
    decimal point may differ by 1e-6. Raises Refused as `run_program` does.
    """
    for number, (given, wanted) in enumerate(cases, start=1):
        result = run_program(
            program, given, allowed=limits.allowed, timeout_s=limits.timeout_s, memory_mb=limits.memory_mb
        )
        where = f"case {number} of {len(cases)}"
        if result.timed_out:
            return Verdict(False, f"{where}: no answer within {limits.timeout_s:g} s")
        if result.output_capped:
            return Verdict(False, f"{where}: it wrote more than is read")
        if not result.ended_well:
            return Verdict(False, f"{where}: {_ending(result)}")
        if not same_output(result.stdout, wanted):
            return Verdict(False, f"{where}: {_short(wanted)} was expected, {_short(result.stdout)} came")
    return Verdict(bool(cases), "" if cases else "the problem has no cases")


def same_output(given: str, wanted: str) -> bool:
    """Whether two outputs are the same text, blank space at the ends of lines apart, or the same words and numbers."""
    ours, theirs = ([line.rstrip() for line in text.strip().splitlines()] for text in (given, wanted))
    if ours == theirs:
        return True
    words, others = given.split(), wanted.split()
    return len(words) == len(others) and all(map(_same_word, words, others))


def _same_word(given: str, wanted: str) -> bool:
    if given == wanted:
        return True
    if "." not in wanted:
        return False
    try:
        return math.isclose(float(given), float(wanted), rel_tol=1e-6, abs_tol=1e-6)
    except ValueError:
        return False


def _verdict(judged: ProgramResult, token: str) -> Verdict | None:
    for line in reversed(judged.stdout.splitlines()):
        if line.startswith(f"{token} "):
            data: dict[str, Any] = json.loads(line.removeprefix(f"{token} "))
            return Verdict(data["passed"] is True, str(data["reason"]))
    return None


def _ending(result: ProgramResult) -> str:
    if result.exit_code < 0:
        return f"ended by signal {-result.exit_code}"
    last = result.stderr.strip().rpartition("\n")[2]
    return _short(last) if last else f"exit code {result.exit_code}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:97] + "…")


@functools.cache
def _calls() -> str:
    return Path(__file__).with_name("calls.py").read_text(encoding="utf-8")
