"""A hundred thousand forks: read, filtered, sorted, grouped.

    python benchmarks/forks.py

Copies of a recorded run, as many as it takes. Prints one Markdown table, medians of `--rounds`; exit status 1 where a
filter takes more than 200 ms.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy

from omniopd.embedded import recorded
from omniopd.runs import forks
from omniopd.runs.fork_table import grouped, kept

FILTER_MS = 200
WHERE = (
    "entropy > 1 and agreement < .3",
    'kind == "differs" and not probe and self_agreement > .9',
    '"There" in chunk or wrote in ("5", "6") or token != "3" and posterior_mean < prior',
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    one = recorded("labels")
    copies = -(-options.forks // len(one.forks()))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(copies):
            shutil.copytree(one.path, Path(folder) / f"run{number}")
        began, worked = time.perf_counter(), time.process_time()
        table = forks(folder)
        read_s, cpu_s = time.perf_counter() - began, time.process_time() - worked
    # Copies repeat each other: other numbers, so that sorting has work to do.
    noise = numpy.random.default_rng(0).uniform(0.5, 2.0, len(table))
    table["entropy"] = table["entropy"] * noise
    print(f"{len(table):,} forks of {copies} runs, read in {read_s:.1f} s ({cpu_s:.1f} s of them at work)\n")
    print("| what | median ms | slowest ms | allowed ms |\n| --- | ---: | ---: | ---: |")
    failed = False
    for expression in WHERE:
        failed |= told(f"`{expression}`", lambda e=expression: kept(table, e), options.rounds, FILTER_MS)  # type: ignore[misc]
    told("sorted by entropy", lambda: table.sort_values("entropy", ascending=False, kind="stable"), options.rounds)
    for by in ("pair", "token", "kind"):
        told(f"grouped by {by}", lambda by=by: grouped(table, by), options.rounds)  # type: ignore[misc]
    return int(failed)


def told(what: str, act: Callable[[], object], rounds: int, allowed: float | None = None) -> bool:
    """Time `act`, print its line; whether its median is above what is allowed."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        took.append(1e3 * (time.perf_counter() - began))
    middle = statistics.median(took)
    print(f"| {what} | {middle:.0f} | {max(took):.0f} | {'' if allowed is None else allowed} |")
    return allowed is not None and middle > allowed


if __name__ == "__main__":
    sys.exit(main())
