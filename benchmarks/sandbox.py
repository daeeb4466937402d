"""What does the sandbox cost? Milliseconds to start, run and end an empty program, beside a bare interpreter.

    OMNIOPD_RUN_PROGRAMS=1 python benchmarks/sandbox.py [ROUNDS]        as root, and again as an ordinary user

Variants in turns, so that a busy machine slows all of them. Prints a table and the layers, and ends with 1 if the
sandbox's median is above 60 ms. Standard library only, so that any Python of any user runs it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from omniopd.errors import Refused
from omniopd.tasks.sandbox import require_sandbox, run_program
from omniopd.tasks.sandbox.judging import Limits, judge_function

ALLOWED_MS = 60
PROGRAM, TESTS = "def add(a, b):\n    return a + b\n", "def check(f):\n    assert f(1, 2) == 3\n"


def bare() -> None:
    subprocess.run([os.path.realpath(sys.executable), "-I", "-S", "-c", "pass"], check=True, env={})


def sandboxed() -> None:
    assert run_program("pass", allowed=True).ended_well


def judged() -> None:
    assert judge_function(PROGRAM, TESTS, "add", Limits(allowed=True)).passed


VARIANTS: dict[str, Callable[[], None]] = {
    "bare interpreter": bare,
    "run_program": sandboxed,
    "judge_function (two programs)": judged,
}


def main(rounds: int) -> int:
    layers = require_sandbox(allowed=True)
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, variant in VARIANTS.items():
            started = time.perf_counter()
            variant()
            times[name].append(1000 * (time.perf_counter() - started))
    print(f"user {os.getuid()}, Python {sys.version.split()[0]}, {rounds} rounds; layers: {', '.join(layers)}\n")
    print("| variant | ms, median (quartiles) | allowed |\n| --- | --- | --- |")
    for name, each in times.items():
        low, middle, high = statistics.quantiles(each, n=4)
        allowed = f"≤ {ALLOWED_MS}" if name == "run_program" else ""
        print(f"| {name} | {middle:.1f} ({low:.1f} – {high:.1f}) | {allowed} |")
    return int(statistics.median(times["run_program"]) > ALLOWED_MS)


if __name__ == "__main__":
    try:
        sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 50))
    except Refused as refusal:
        sys.exit(str(refusal))
