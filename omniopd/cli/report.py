"""`omniopd report`: several runs as one page, with a verdict per comparison."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from omniopd.errors import ConfigError


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "report", help="compare runs: a page, a table, a verdict", description=__doc__,
        epilog="example: omniopd report runs/sweep --reference recipe --out report.html",
    )  # fmt: skip
    command.add_argument("runs", nargs="+", metavar="RUN", help="runs, or folders that hold runs (at any depth)")
    command.add_argument("--reference", metavar="ARM", help="the arm that the others are compared with (the first)")
    command.add_argument("--out", default="report.html", metavar="FILE", help="the page (report.html)")
    command.add_argument("--title", default="Runs compared")
    command.add_argument("--export", metavar="FILE", help="the table as .csv or .parquet as well")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.comparison import compare, comparison_page
    from omniopd.evaluation.tables import as_text

    comparison = compare(found(options.runs), options.reference)
    table = comparison.table()
    print(as_text(table.round(2).T))
    print(*comparison.verdicts(), *comparison.problems, sep="\n")
    print(comparison_page(comparison, options.out, options.title))
    if options.export:
        export(table, Path(options.export))
        print(options.export)
    return 0


def found(places: list[str]) -> list[Path]:
    """The runs in these places, each once. Raises ConfigError for a place without any."""
    from omniopd.runs.store import MANIFEST

    paths: dict[Path, None] = {}
    for place in map(Path, places):
        inside = [file.parent for file in sorted(place.rglob(MANIFEST)) if "set_aside" not in file.parts]
        if not inside:
            raise ConfigError(f"{place} holds no run: give a run's folder, or one with runs in it")
        paths |= dict.fromkeys(inside)
    return list(paths)


def export(table: Any, file: Path) -> None:
    """Write the table; the ending says how. Raises ConfigError for another ending, or where parquet has no writer."""
    if file.suffix == ".csv":
        table.to_csv(file)
    elif file.suffix == ".parquet":
        try:
            table.to_parquet(file)
        except ImportError as error:
            raise ConfigError(f"{file} cannot be written: parquet needs pyarrow (pip install pyarrow)") from error
    else:
        raise ConfigError(f"{file} is neither .csv nor .parquet: choose one of these endings")
