"""The report: who was measured, at which temperature, how sure; and nothing from outside becomes markup."""

from __future__ import annotations

import pandas
import pytest

from omniopd.evaluation.tables import (
    AFTER,
    BEFORE,
    TEACHER,
    as_html,
    as_text,
    findings,
    report_rows,
    report_table,
    temperature_table,
)
from omniopd.records import EvalRecord, ProblemResult


def record(
    model: str, step: int, temperature: float, share: float, samples: int = 16, problems: int = 40
) -> EvalRecord:
    samples = samples if temperature else 1
    rows = tuple(
        ProblemResult(f"p{i}", samples if i < share * problems else 0, samples, samples, int(i == 0), 20.0 + i)
        for i in range(problems)
    )
    return EvalRecord(model, "stories", "test", temperature, samples, 0, 64, rows, step)


@pytest.fixture
def evals() -> list[EvalRecord]:
    return [
        record("student", 0, 0.0, 0.4),
        record("student", 0, 1.0, 0.25),
        record("student", 20, 1.0, 0.5),
        record("student", 40, 1.0, 1.0, problems=10),  # during training: few problems
        record("student", 40, 0.0, 0.8),
        record("student", 40, 1.0, 0.6),
        record("teacher", 0, 1.0, 0.9),
    ]


def test_rows_are_the_untrained_the_last_and_the_teacher(evals):
    rows = report_rows(evals)
    assert list(rows) == [BEFORE, AFTER, TEACHER]
    assert [(r.temperature, r.step, len(r.problems)) for r in rows[AFTER]] == [(0.0, 40, 40), (1.0, 40, 40)]


def test_an_untrained_student_has_no_row_after(evals):
    assert list(report_rows(evals[:2])) == [BEFORE]


def test_problems_that_all_pass_leave_a_doubt():
    rows = report_rows([record("student", 0, 1.0, 1.0, problems=500), record("teacher", 0, 1.0, 0.0, problems=20)])
    assert list(report_table(rows)["pass@16"]) == ["100.0 [99.3, 100.0]", "0.0 [0.0, 16.8]"]
    assert list(report_table(rows)["at 1"]) == ["100.0 [99.3, 100.0]", "0.0 [0.0, 16.8]"]


def test_the_table_shows_the_best_temperature_and_a_dash_where_nothing_was_measured(evals):
    table = report_table(report_rows(evals))
    assert list(table.columns) == ["at 0", "at 1", "best", "pass@16", "tokens", "cut off"]
    assert table.loc[AFTER, "best"] == "80.0 at 0"
    assert table.loc[AFTER, "at 1"].startswith("60.0 [")
    assert table.loc[TEACHER, "at 0"] == "–"
    assert table.loc[BEFORE, "pass@16"].startswith("25.0 [")


def test_the_findings_compare_the_same_problems(evals):
    best, greedy, hot = findings(report_rows(evals))
    assert best.startswith("best temperature: +40.0 points")
    assert greedy.startswith("greedy: +40.0 points")
    assert hot.startswith("temperature 1: +35.0 points")
    assert hot.endswith("better")
    assert findings(report_rows(evals[:2])) == []


def test_text_is_aligned(evals):
    lines = as_text(report_table(report_rows(evals)), "After 40 steps").splitlines()
    assert lines[0] == "After 40 steps"
    assert {len(line) for line in lines[3:]} == {len(lines[2])}


def test_the_head_says_that_the_numbers_are_temperatures_whichever_way_a_table_lies(evals):
    table = report_table(report_rows(evals))
    assert all(as_text(lying).split()[0] == "temperature" for lying in (table, table.T))
    assert as_html(table).startswith('<table class="omniopd-report"><thead><tr><td>temperature</td>')
    one = as_text(temperature_table(evals[:2])).splitlines()
    assert [line.split()[0] for line in (one[0], *one[2:])] == ["temperature", "0", "1"]


def test_html_escapes_names(evals):
    table = report_table({"<script>alert(1)</script>": evals[:2]})
    page = as_html(table)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_run_that_was_evaluated_on_fewer_problems_at_its_end_is_not_compared(evals):
    rows = report_rows([*evals[:2], record("student", 20, 1.0, 0.5, problems=10)])
    assert all("not compared, because problem 'p10' is missing" in sentence for sentence in findings(rows))


def test_a_table_fits_a_terminal_on_its_side_or_in_parts_and_keeps_every_cell():
    names = [f"at {t}" for t in (0, 0.3, 0.5, 0.7, 1)]
    table = pandas.DataFrame(
        [[f"{i}{j}.1 [12.3, 45.6]" for j in range(5)] for i in range(4)],
        index=["student before", "student after", "control: self_teacher", "teacher"], columns=names,
    )  # fmt: skip
    cells = {cell for row in table.to_numpy() for cell in row}
    for width in (None, 140, 100, 80, 60, 10):
        text = as_text(table, width=width)
        assert all(cell in text for cell in cells)
        assert width is None or width == 10 or max(map(len, text.splitlines())) <= width
    assert as_text(table, width=140) == as_text(table)
    assert as_text(table, width=100).splitlines()[0].split("  ")[-1].strip() == "teacher"
    assert len(as_text(table, width=60).splitlines()) > 10
