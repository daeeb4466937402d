"""`omniopd forks`: the forks of one run or of many, filtered, sorted, grouped; for a reader or for a program."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniopd.errors import ConfigError
from omniopd.io.columns import aligned, terminal_width

if TYPE_CHECKING:
    import pandas

LIMIT, PAIRS = 20, 8  # rows, and pairs of words that disagree, where nobody says how many
_SCHEMA = 1


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "forks", help="search the forks of runs", description=__doc__,
        epilog="example: omniopd forks runs/embedded --where 'entropy > 1 and agreement < .3' --by pair. Columns, and "
        "what else an expression may say: docs/command-line.md",
    )  # fmt: skip
    command.add_argument("runs", nargs="+", metavar="RUN", help="runs, or folders that hold runs (at any depth)")
    command.add_argument("--where", default="", metavar="EXPRESSION",
                         help='keep forks that it holds for: entropy > 1 and "31" in chunk')  # fmt: skip
    command.add_argument("--sort", default="", metavar="COLUMN", help="the largest first (default: their order)")
    command.add_argument("--ascending", action="store_true", help="with --sort, the smallest first")
    command.add_argument("--by", default="", metavar="COLUMN",
                         help="count by token, kind, prompt, … or pair: the words that differ")  # fmt: skip
    command.add_argument("--limit", type=int, metavar="N",
                         help=f"rows at most ({LIMIT}; 0: all, as in files)")  # fmt: skip
    command.add_argument("--json", action="store_true", help="one JSON document for programs")
    command.add_argument("--csv", metavar="FILE", help="write the rows as a spreadsheet reads them")
    command.add_argument("--parquet", metavar="FILE", help="write the rows with their types")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.reports.export import write_table
    from omniopd.runs import forks
    from omniopd.runs.fork_table import grouped, kept, table_of
    from omniopd.runs.search import require_column

    if options.limit is not None and options.limit < 0:
        raise ConfigError(f"--limit is {options.limit}: give 0 for all rows, or how many")
    for file, ending in ((options.csv, ".csv"), (options.parquet, ".parquet")):
        if file is not None and Path(file).suffix != ending:
            raise ConfigError(f"{file} does not end in {ending}: give it that ending")

    def asked(table: pandas.DataFrame) -> tuple[pandas.DataFrame, pandas.DataFrame]:
        found = kept(table, options.where)
        rows = grouped(found, options.by) if options.by else found
        if options.sort:
            by = require_column(rows, options.sort)
            rows = rows.sort_values(by, ascending=options.ascending, kind="stable")
        return found, rows

    asked(table_of(()))  # a mistake is told before records are read
    every = forks(options.runs)
    found, rows = asked(every)
    pairs = grouped(found, "pair")
    written = [Path(file) for file in (options.csv, options.parquet) if file is not None]
    limit = options.limit if options.limit is not None else 0 if written else LIMIT
    shown = rows if limit == 0 else rows.head(limit)
    for file in written:
        write_table(shown, file)
    if options.json:
        print(json.dumps(_document(options, every, found, rows, shown, pairs), indent=1))
    elif written:
        print(*(f"{file}: {len(shown):,} rows" for file in written), sep="\n")
    else:
        print(f"{len(found):,} of {len(every):,} forks of {_count(every.run.nunique(), 'run')}\n")
        _print_groups(shown, options.by) if options.by else _print_forks(shown, every.run.nunique() > 1)
        if len(shown) < len(rows):
            print(f"… {len(rows) - len(shown):,} more: --limit 0 prints all")
        if not options.by and len(pairs):
            print("\nwhere they differ, the student's word against the teacher's most frequent one")
            _print_groups(pairs.head(PAIRS), "pair")
    return 0


def _document(
    options: argparse.Namespace, every: pandas.DataFrame, found: pandas.DataFrame, rows: pandas.DataFrame,
    shown: pandas.DataFrame, pairs: pandas.DataFrame,
) -> dict[str, Any]:  # fmt: skip
    return {
        "schema": _SCHEMA, "runs": sorted(set(every.run)), "where": options.where, "by": options.by,
        "forks": len(every), "matching": len(found), "rows_found": len(rows), "rows": records(shown),
        "pairs": records(pairs.head(LIMIT)),
    }  # fmt: skip


def records(table: pandas.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON holds them: a value that is not known is null."""
    return [
        {str(k): None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in table.to_dict("records")
    ]


def _print_forks(table: pandas.DataFrame, several: bool) -> None:
    head = ["run", "step", "answer", "tokens", "kind", "entropy", "sure", "agreement", "trust", "the student wrote",
            "the teacher, most often"]  # fmt: skip
    rows = [
        [Path(r["run"]).name, str(r["step"]), str(r["rollout"]), _places(r["start"], r["stop"]), r["kind"],
         *(_number(r[name]) for name in ("entropy", "probability", "agreement", "posterior_mean")),
         _short(r["chunk"], r["scan"]), _short(r["teacher_text"], r["scan"]) if r["texts"] else _short(r["problem"])]
        for r in table.to_dict("records")
    ]  # fmt: skip
    if not several:
        head, rows = head[1:], [row[1:] for row in rows]
    numbers = ("step", "answer", "tokens", "entropy", "sure", "agreement", "trust")
    spare = ("trust", "sure", "answer", "run", "kind", "step")
    print(*aligned(head, rows, right=numbers, width=terminal_width(), dispensable=spare), sep="\n")


def _print_groups(table: pandas.DataFrame, by: str) -> None:
    names = list(table.columns)
    numbers = [name for name in names if str(table[name].dtype).startswith(("int", "float"))]
    rows = [
        [_number(value) if isinstance(value, float) else _short(str(value)) for value in row.values()]
        for row in table.to_dict("records")
    ]
    spare = ("posterior_mean", "self_agreement", "prompts", "entropy")
    right = [name for name in numbers if name != by]
    print(*aligned(names, rows, right=right, width=terminal_width(), dispensable=spare), sep="\n")


def _places(start: int, stop: int) -> str:
    return f"{start}–{stop - 1}" if stop - start > 1 else str(start)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _short(text: str, from_its_end: bool = False) -> str:
    """At most 28 characters; of a run of a scan the last ones, which it is about."""
    if len(text) <= 28:
        return text
    return f"…{text[-27:]}" if from_its_end else f"{text[:27]}…"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
