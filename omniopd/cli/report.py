"""`omniopd report`: several runs as one page, with a verdict per comparison."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


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
    command.add_argument("--costs", metavar="FILE", help="what accuracy costs by budget, and pass@16: .csv or .parquet")
    command.add_argument("--markdown", metavar="FILE", help="the table and its sentences for a README or a log")
    command.add_argument("--figure", metavar="FILE", help="the learning curves: .svg, or .html to hover and zoom")
    command.add_argument("--figures", metavar="FOLDER", help="every figure that has something to show, as NAME.svg")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.evaluation.tables import as_text
    from omniopd.reports.comparison import compare, comparison_page, costs, frontier, markdown, summary
    from omniopd.reports.comparison.figures import figures
    from omniopd.reports.export import write_table
    from omniopd.runs.files.atomic import write_text
    from omniopd.runs.listing import result_runs

    comparison = compare(result_runs(options.runs), options.reference, options.arms)
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
        write_table(comparison.table(), Path(options.export))
        print(options.export)
    if options.costs:
        write_table(frontier(comparison).set_index("arm"), Path(options.costs))
        print(options.costs)
    if options.markdown:
        write_text(Path(options.markdown), markdown(comparison, options.beside))
        print(options.markdown)
    if options.figure:
        figure, file = comparison.plot("learning"), Path(options.figure)
        write_text(file, figure.to_html(div_id="figure") if file.suffix == ".html" else figure.svg())
        print(options.figure)
    if options.figures:
        for name, figure in figures(comparison).items():
            file = Path(options.figures) / f"{name}.svg"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, figure.svg())
            print(file)
    return 0
