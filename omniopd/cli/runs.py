"""`omniopd runs`: the runs in a folder, a line each."""

from __future__ import annotations

import argparse
import math
import os
from typing import Any

from omniopd.io.texts import one_line


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
    rows = [["run", "state", "steps", "target", "before", "best", "message"]]
    for name, row in table.iterrows():
        rows.append(
            [
                str(name), str(row["state"]), f"{_number(row['step'])}/{_number(row['steps'])}", _text(row["target"]),
                _percent(row["accuracy_before"]), _percent(row["best_accuracy"]),
                str(row["message"] or "").replace(f"{row['path']}{os.sep}", "")[:60],
            ]
        )  # fmt: skip
    rows = [list(map(one_line, cells)) for cells in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for cells in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return 0


def _percent(share: Any) -> str:
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f}%"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "–"


def _number(value: Any) -> str:
    return "–" if value is None or (isinstance(value, float) and math.isnan(value)) else str(int(value))
