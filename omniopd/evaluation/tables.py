"""The table at the end of a run: student before, student after, teacher; accuracy against temperature.

A sharper student looks better at temperature 1 without being better, so the best temperature stands beside it
(method_notes §2). Knows records; makes pandas, text and HTML of them.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence

import pandas

from omniopd.errors import DataError
from omniopd.evaluation.compare import (
    MASS,
    Interval,
    accuracy_interval,
    best_temperature,
    paired_difference,
    share_interval,
    verdict,
)
from omniopd.evaluation.pass_at_k import per_problem_pass_at_k
from omniopd.io.columns import terminal_width
from omniopd.io.texts import one_line
from omniopd.records import EvalRecord, latest_per_temperature

BEFORE, AFTER, TEACHER = "student before", "student after", "teacher"
CONTROL = "control: "
NOTHING = "–"
TEMPERATURE = "temperature"
Rows = Mapping[str, Sequence[EvalRecord]]


def report_rows(evals: Iterable[EvalRecord], split: str = "") -> dict[str, list[EvalRecord]]:
    """A run's evaluations by who was measured: "student" at step 0 and at its last step, "control: …", "teacher".

    Of several at one temperature (an evaluation during training, a resumed run) the one with the most answers counts,
    and of equal ones the last. `split`: those on its problems only ("": on any).
    """
    evals = [record for record in evals if split in ("", record.split)]
    last = max((record.step for record in evals if record.model == "student"), default=0)
    rows = {
        BEFORE: [record for record in evals if record.model == "student" and record.step == 0],
        AFTER: [record for record in evals if record.model == "student" and record.step == last > 0],
    }
    for who in dict.fromkeys(record.model for record in evals if record.model.startswith(CONTROL)):
        rows[who] = [record for record in evals if record.model == who]
    rows[TEACHER] = [record for record in evals if record.model == "teacher"]
    return {who: latest_per_temperature(records) for who, records in rows.items() if records}


def report_table(rows: Rows, k: int = 16) -> pandas.DataFrame:
    """The table to show, one row a model: accuracy in percent with its interval per temperature, the best one, pass@k.

    pass@k, mean tokens and the share of answers cut off are those of the highest temperature measured, 1 in a report.
    """
    temperatures = sorted({record.temperature for records in rows.values() for record in records})
    table = {}
    for who, records in rows.items():
        at = {record.temperature: record for record in records}
        cells = {f"at {t:g}": str(_accuracy(at[t])) if t in at else NOTHING for t in temperatures}
        if at:
            best, hottest = best_temperature(records), at[max(at)]
            passed = _pass_at_k(hottest, k)
            cells["best"] = f"{_percent(best.accuracy)} at {best.temperature:g}"
            cells[f"pass@{k}"] = NOTHING if math.isnan(passed.mean) else str(passed)
            cells["tokens"] = f"{mean_tokens(hottest):.1f}" if hottest.problems else NOTHING
            cells["cut off"] = f"{_percent(hottest.truncated_share)}%" if hottest.problems else NOTHING
        table[who] = cells
    return pandas.DataFrame.from_dict(table, orient="index").fillna(NOTHING).rename_axis(columns=TEMPERATURE)


def temperature_table(records: Sequence[EvalRecord]) -> pandas.DataFrame:
    """One model, one row a temperature: right answers, pass@k, how answers read and end, how long they are."""
    table = {}
    for record in sorted(records, key=lambda r: r.temperature):
        passed, lengths = _pass_at_k(record, record.samples), [n for p in record.problems for n in p.tokens]
        table[f"{record.temperature:g}"] = {
            "right": str(_accuracy(record)),
            "answers": str(record.samples),
            "pass@k": NOTHING if record.samples == 1 else f"{passed} of {record.samples}",
            "readable": _percent(record.readable_share),
            "cut off": _percent(record.truncated_share),
            "tokens": f"{mean_tokens(record):.1f}",
            "longest": f"{max(lengths):,}" if lengths else NOTHING,
            "repeated": _percent(record.repetition),
        }
    return pandas.DataFrame.from_dict(table, orient="index").rename_axis(TEMPERATURE)


def findings(rows: Rows) -> list[str]:
    """What the table shows, in sentences: the rise at the best temperature and greedily, paired by problem."""
    before, after = rows.get(BEFORE), rows.get(AFTER)
    if not before or not after:
        return []
    best_before, best_after = best_temperature(before), best_temperature(after)
    sentences = [f"best temperature: {_compared(best_after, best_before)}"]
    for record in after:
        twin = next((r for r in before if r.temperature == record.temperature), None)
        if twin is not None and record.temperature in (0.0, 1.0):
            name = "greedy" if record.temperature == 0 else "temperature 1"
            sentences.append(f"{name}: {_compared(record, twin)}")
    for who, records in rows.items():
        if who.startswith(CONTROL):
            sentences.append(f"best temperature, beyond the {who}: {_compared(best_after, best_temperature(records))}")
    return sentences


def as_text(table: pandas.DataFrame, title: str = "", width: int | None = None) -> str:
    """A table in plain text, columns aligned, in lines that a terminal or a notebook's cell holds: `width` characters,
    or as it says itself.

    One that is too wide is turned on its side if that fits, else its columns are told in parts, one below the other.
    Into a file or a pipe it is written whole.
    """
    width = width or terminal_width()
    whole = _lines(table)
    if width is not None and len(whole[1]) > width:
        turned = _lines(table.T)
        whole = turned if len(turned[1]) <= width else _in_parts(table, width)
    return "\n".join([title] * bool(title) + whole)


def _lines(table: pandas.DataFrame) -> list[str]:
    """Head, line, rows."""
    head = [_corner(table), *map(str, table.columns)]
    rows = ([who, *cells] for who, cells in zip(table.index, table.to_numpy(), strict=True))
    lines = [[one_line(str(cell)) for cell in line] for line in (head, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    shown = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    shown.insert(1, "─" * max(map(len, shown)))
    return shown


def _corner(table: pandas.DataFrame) -> str:
    """What the columns are, or the rows: a table on its side says it as well."""
    return str(table.columns.name or table.index.name or "")


def _in_parts(table: pandas.DataFrame, width: int) -> list[str]:
    """As many columns below each other as it takes, one at least in each part."""
    made: list[str] = []
    names = list(table.columns)
    while names:
        count = next((n for n in range(len(names), 1, -1) if len(_lines(table[names[:n]])[1]) <= width), 1)
        made += [*([""] * bool(made)), *_lines(table[names[:count]])]
        names = names[count:]
    return made


def as_html(table: pandas.DataFrame) -> str:
    """A table as HTML, everything in it escaped: names of models come from the outside."""
    head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in table.columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(str(who))}</th>'
        + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        + "</tr>"
        for who, cells in zip(table.index, table.to_numpy(), strict=True)
    )
    return (
        f'<table class="omniopd-report"><thead><tr><td>{html.escape(_corner(table))}</td>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def mean_tokens(record: EvalRecord) -> float:
    """Mean tokens of an answer, over all answers; NaN without problems."""
    answers = sum(problem.samples for problem in record.problems)
    total = math.fsum(problem.mean_tokens * problem.samples for problem in record.problems)
    return total / answers if answers else math.nan


def _compared(after: EvalRecord, before: EvalRecord) -> str:
    try:
        return verdict(paired_difference(after, before))
    except DataError as error:
        return f"not compared, because {error}"


def _accuracy(record: EvalRecord) -> Interval:
    if not record.problems:
        return Interval(record.accuracy, math.nan, math.nan, MASS, 0, "problem")
    return accuracy_interval(record)


def _pass_at_k(record: EvalRecord, k: int) -> Interval:
    if not record.problems or any(problem.samples < k for problem in record.problems):
        return Interval(math.nan, math.nan, math.nan, MASS, 0, "problem")
    return share_interval(per_problem_pass_at_k(record, k))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))]
