"""Hosted and local teachers beside what is possible: time, processor, faults, kills, writers, silent lines, scans.

    python benchmarks/teachers.py                      every section, about half an hour
    python benchmarks/teachers.py --small              the same in a few minutes, with smaller numbers
    python benchmarks/teachers.py --only wall64 cpu    some of them (scan64, scan256, … : an answer's conversation)

A server on loopback in a process of its own answers like a provider, after a known time, by seed. Ratios are those of
one run. Prints one Markdown table; exit status 1 where a figure is not reached.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.teacher_figures import calling, crashing, here, scanning


@dataclass(frozen=True)
class Section:
    measure: Callable[..., list[tuple[str, float, str, float]]]
    full: dict[str, float]
    small: dict[str, float]


_SECOND, _HALF = {"latency_s": 1.0}, {"latency_s": 0.5, "answers": 32}

# Each measure returns rows: what, found, "≤" or "=", goal.
SECTIONS = {
    "wall64": Section(calling.wall, {"calls": 1280, "concurrency": 64}, {"calls": 320, "concurrency": 64}),
    "wall256": Section(calling.wall, {"calls": 5120, "concurrency": 256}, {"calls": 1024, "concurrency": 256}),
    "wrapped64": Section(
        calling.wrapped, {"calls": 1280, "concurrency": 64, "rounds": 3}, {"calls": 320, "concurrency": 64, "rounds": 1}
    ),
    "wrapped256": Section(
        calling.wrapped, {"calls": 5120, "concurrency": 256, "rounds": 3},
        {"calls": 1024, "concurrency": 256, "rounds": 2},
    ),
    "cpu": Section(calling.processor, {"calls": 600, "rounds": 7}, {"calls": 200, "rounds": 3}),
    "faults": Section(calling.faults, {"calls": 10_000}, {"calls": 600}),
    "silent": Section(calling.silent, {"connections": 1000}, {"connections": 200}),
    "kills": Section(crashing.kills, {"kills": 50, "concurrency": 16}, {"kills": 6, "concurrency": 16}),
    "writers": Section(crashing.writers, {"kills": 12, "writers": 4}, {"kills": 4, "writers": 4}),
    "scan64": Section(scanning.wall, _SECOND | {"answers": 64, "concurrency": 64}, _HALF | {"concurrency": 64}),
    "scan256": Section(scanning.wall, _SECOND | {"answers": 256, "concurrency": 64}, _HALF | {"concurrency": 16}),
    "scan wide": Section(scanning.wall, _SECOND | {"answers": 256, "concurrency": 256}, _HALF | {"concurrency": 256}),
    "scan parts": Section(
        scanning.parallel, _SECOND | {"answers": 64, "concurrency": 256, "at_once": 4},
        _HALF | {"concurrency": 256, "at_once": 4},
    ),
    "scan wrapped": Section(
        scanning.wrapped, _SECOND | {"answers": 64, "concurrency": 64}, _HALF | {"concurrency": 64}
    ),
    "scan written": Section(scanning.written, {"answers": 64, "token_s": 0.01}, {"answers": 32, "token_s": 0.01}),
    "local": Section(here.audit_beside_generate, {"rounds": 7}, {"rounds": 3}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    print("| section | figure | found | goal |\n| --- | --- | --- | --- |", flush=True)
    missed = 0
    for name in options.only:
        section = SECTIONS[name]
        for what, found, sign, goal in section.measure(**(section.small if options.small else section.full)):
            reached = found <= goal if sign == "≤" else found == goal
            missed += not reached
            print(f"| {name} | {what} | {found:.5g} | {sign} {goal:g}{'' if reached else ' MISSED'} |", flush=True)
    raise SystemExit(missed > 0)


if __name__ == "__main__":
    main()
