"""`omniopd runs`: the runs in a folder, a line each."""

from __future__ import annotations

import argparse
import math
import os
from typing import Any

from omniopd.io.columns import aligned, terminal_width


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser("runs", help="list runs", description=__doc__)
    command.add_argument("folder", nargs="?", default="runs", metavar="DIR", help="the folder that holds them (runs)")
    return command


def run(options: argparse.Namespace) -> int:
    import omniopd.runs

    table = omniopd.runs.table(options.folder)
    if table.empty:
        print(f"no runs in {options.folder}: `omniopd demo` or `omniopd train` makes one")
        return 0
    head = ["run", "state", "steps", "target", "before", "best", "gain", "message"]
    rows = [
        [
            str(name), str(row["state"]), f"{_number(row['step'])}/{_number(row['steps'])}", _text(row["target"]),
            _percent(row["accuracy_before"]), _percent(row["best_accuracy"]), _points(row["gain"]),
            str(row["message"] or "").replace(f"{row['path']}{os.sep}", "")[:60],
        ]
        for name, row in table.iterrows()
    ]  # fmt: skip
    spare = ("message", "target", "before", "steps", "gain", "state")
    print(*aligned(head, rows, width=terminal_width(), dispensable=spare), sep="\n")
    return 0


def _percent(share: Any) -> str:
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f}%"


def _points(gain: Any) -> str:
    return "–" if gain is None or math.isnan(gain) else f"{100 * gain:+.1f}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "–"


def _number(value: Any) -> str:
    return "–" if value is None or (isinstance(value, float) and math.isnan(value)) else str(int(value))
