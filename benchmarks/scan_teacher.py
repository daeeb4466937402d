"""A scan through a served teacher beside what is possible: wall time, processor time, tokens behind a difference.

    python benchmarks/scan_teacher.py            every section, some three minutes
    python benchmarks/scan_teacher.py --small    the same with smaller numbers

A server on loopback in a process of its own answers after a second and writes nearly what the student wrote; 64 calls
are in flight. The ideal of a scan is its longest conversation, or all its calls over those in flight, whichever takes
longer. Prints one Markdown table; exit status 1 where a figure is not reached.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.teacher_figures import scanning

# Each measure returns rows: what, found, "≤", goal.
SECTIONS = {
    "step": (scanning.wall, {"answers": 64, "concurrency": 64, "latency_s": 1.0}),
    "parallel": (scanning.parallel, {"answers": 64, "concurrency": 256, "latency_s": 1.0, "at_once": 4}),
    "many": (scanning.wall, {"answers": 256, "concurrency": 64, "latency_s": 1.0}),
    "wide": (scanning.wall, {"answers": 256, "concurrency": 256, "latency_s": 1.0}),
    "wrapped": (scanning.wrapped, {"answers": 64, "concurrency": 64, "latency_s": 1.0}),
    "written": (scanning.written, {"answers": 64, "token_s": 0.01}),
}
_SMALL = {"answers": 32, "latency_s": 0.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    print("| section | figure | found | goal |\n| --- | --- | --- | --- |", flush=True)
    missed = 0
    for name in options.only:
        measure, numbers = SECTIONS[name]
        if options.small:
            numbers = numbers | {key: value for key, value in _SMALL.items() if key in numbers}
        for what, found, sign, goal in measure(**numbers):
            missed += found > goal
            print(f"| {name} | {what} | {found:.4g} | {sign} {goal:g}{' MISSED' if found > goal else ''} |", flush=True)
    raise SystemExit(missed > 0)


if __name__ == "__main__":
    main()
