"""`omniopd report`: several runs as one page, with a verdict per comparison."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from omniopd.errors import ConfigError
from omniopd.io.texts import inert


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "report", help="compare runs: a page, a table, a verdict", description=__doc__,
        epilog="example: omniopd report runs/embedded --reference labels --markdown table.md --figure curves.svg",
    )  # fmt: skip
    command.add_argument("runs", nargs="+", metavar="RUN", help="runs, or folders that hold runs (at any depth)")
    command.add_argument("--reference", metavar="ARM", help="the arm that the others are compared with (the first)")
    command.add_argument("--arms", nargs="+", default=[], metavar="ARM", help="compare these only, in this order")
    command.add_argument("--beside", nargs="+", default=[], metavar="ARM", help="and how every arm stands beside these")
    command.add_argument("--out", default="report.html", metavar="FILE", help="the page (report.html)")
    command.add_argument("--title", default="Runs compared")
    command.add_argument("--export", metavar="FILE", help="the table as .csv or .parquet as well")
    command.add_argument("--markdown", metavar="FILE", help="the table and its sentences for a README or a log")
    command.add_argument("--figure", metavar="FILE", help="the learning curves: .svg, or .html to hover and zoom")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.evaluation.tables import as_text
    from omniopd.reports.comparison import compare, comparison_page, costs, markdown, summary
    from omniopd.runs.atomic import write_text

    comparison = compare(found(options.runs), options.reference, options.arms)
    print(as_text(summary(comparison, options.beside).drop(columns="learns from"), "Right answers in percent"))
    print()
    print(as_text(costs(comparison), "What a run took"))
    print()
    print(*comparison.verdicts(), *comparison.shares(), sep="\n")
    for name in options.beside:
        print(*comparison.verdicts(name), sep="\n")
    print(*comparison.problems, sep="\n")
    print(comparison_page(comparison, options.out, options.title, options.beside))
    if options.export:
        export(comparison.table(), Path(options.export))
        print(options.export)
    if options.markdown:
        write_text(Path(options.markdown), markdown(comparison, options.beside))
        print(options.markdown)
    if options.figure:
        figure, file = comparison.plot("learning"), Path(options.figure)
        write_text(file, figure.to_html(div_id="figure") if file.suffix == ".html" else figure.svg())
        print(options.figure)
    return 0


def found(places: list[str]) -> list[Path]:
    """The runs in these places, each once; the trials of a study only where their own folder is given, since they are
    nobody's result. Raises ConfigError for a place without any."""
    from omniopd.runs.listing import run_folders
    from omniopd.sweeps.study import TRIALS

    paths: dict[Path, None] = {}
    for place in map(Path, places):
        inside = [path for path in run_folders(place) if TRIALS not in path.relative_to(place).parts]
        if not inside:
            raise ConfigError(f"{place} holds no run: give a run's folder, or one with runs in it")
        paths |= dict.fromkeys(inside)
    return list(paths)


def export(table: Any, file: Path) -> None:
    """Write the table; the ending says how. Raises ConfigError for another ending, or where parquet has no writer."""
    if file.suffix == ".csv":
        inert_table(table).to_csv(file, encoding="utf-8", errors="backslashreplace")
    elif file.suffix == ".parquet":
        try:
            table.to_parquet(file)
        except ImportError as error:
            raise ConfigError(f"{file} cannot be written: parquet needs pyarrow (pip install pyarrow)") from error
    else:
        raise ConfigError(f"{file} is neither .csv nor .parquet: choose one of these endings")


def inert_table(table: Any) -> Any:
    """A copy that a spreadsheet shows and never computes: names of arms and settings may be anybody's."""
    made = table.map(inert)
    made.index = made.index.map(inert)
    made.columns = made.columns.map(inert)
    made.index.names = [inert(name) for name in table.index.names]
    made.columns.names = [inert(name) for name in table.columns.names]
    return made
