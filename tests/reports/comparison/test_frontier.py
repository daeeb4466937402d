"""What accuracy costs: tokens and dollars of every arm, up to each budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from omniopd.evaluation.folder import EvaluationFolder
from omniopd.io.units import dollars
from omniopd.records import EvalRecord, ProblemResult
from omniopd.reports.comparison import compare, frontier, markdown
from omniopd.reports.comparison.frontier import sheets
from omniopd.runs.store import Run
from omniopd.teachers.spending.prices import price_of
from tests.reports.comparison.small import STEPS, finished
from tests.reports.comparison.test_report import two_arms


def test_an_arm_has_a_row_a_budget_with_what_was_taken_until_then(tmp_path: Path) -> None:
    frame = frontier(compare(two_arms(tmp_path))).set_index(["arm", "samples"])
    assert frame.loc[("ours", 64), ["read", "written", "best temperature, %"]].tolist() == [100, 7, pytest.approx(55)]
    assert frame.loc[("ours", 128), ["read", "written", "best temperature, %"]].tolist() == [200, 14, pytest.approx(95)]


def test_every_temperature_that_was_measured_has_its_column(tmp_path: Path) -> None:
    results = compare(two_arms(tmp_path))
    row = frontier(results).set_index(["arm", "samples"]).loc[("ours", 128)]
    for t in (0.0, 0.5, 1.0):
        found = results.accuracy(results.arm("ours"), 128, t)
        assert row[f"temperature {t:g}, %"] == pytest.approx(100 * found.mean if found else float("nan"), nan_ok=True)
    assert row["temperature 0, %"] == 95  # the only one of these runs
    assert row["seeds"] == len(results.arm("ours").seeds)


@pytest.mark.parametrize(
    ("change", "passes"),
    [({}, 75.0), ({"step": STEPS - 1}, None), ({"samples": 15}, None), ({"temperature": 0.5}, None),
     ({"split": "dev"}, None), ({"max_tokens": 9}, None), ({"seed": 1}, None), ({"task": "other"}, None)],
)  # fmt: skip
def test_pass_at_16_comes_from_an_evaluation_of_the_trained_student_since(
    change: dict[str, Any], passes: float | None, tmp_path: Path
) -> None:
    runs = [finished(tmp_path, 9, at={1: 5})]
    evaluated_since(runs[0], **change)
    found = frontier(compare(runs)).set_index("samples")["pass@16, %"]
    assert found.isna().tolist() == [True, passes is None]  # the student of 64 answers was not asked
    if passes is not None:
        assert found[128] == passes


def test_pass_at_16_is_told_of_all_seeds_or_of_none(tmp_path: Path) -> None:
    runs = [finished(tmp_path, 9, seed=seed) for seed in (0, 1)]
    evaluated_since(runs[0])
    assert frontier(compare(runs))["pass@16, %"].isna().all()
    evaluated_since(runs[1], seed=1)
    assert frontier(compare(runs))["pass@16, %"].tolist() == [75]


def test_of_two_evaluations_the_one_of_more_problems_tells_pass_at_16(tmp_path: Path) -> None:
    run = finished(tmp_path, 9)
    evaluated_since(run)
    evaluated_since(run, right=[0] * 5)
    evaluated_since(run, right=[16] * 11)  # one more than the run was measured on
    assert frontier(compare([run]))["pass@16, %"].tolist() == [0]


def evaluated_since(run: Run, right: Sequence[int] = (0, 1, 3, 15), **change: Any) -> None:
    """As `omniopd evaluate RUN` keeps it: 16 answers to each problem at temperature 1, but for what is changed."""
    asked = {"task": "stories", "split": "test", "temperature": 1.0, "samples": 16, "seed": 0, "max_tokens": 8}
    asked |= {"step": STEPS, **change}
    results = tuple(ProblemResult(f"p{i}", count, asked["samples"]) for i, count in enumerate(right))
    folder = run.path / "evaluations" / f"student_{len(right)}"
    EvaluationFolder(folder, {}).add(EvalRecord(model="model", problems=results, **asked))


def test_whole_answers_are_bought_before_the_first_step_and_count_as_they_are_learnt(tmp_path: Path) -> None:
    runs = [finished(tmp_path, 9, method="sft", evaluation__controls=[], at={1: 5})]
    frame = frontier(compare(runs)).set_index("samples")
    assert frame.loc[64, "read"] == frame.loc[128, "read"] / 2 == 100


def test_dollars_are_those_of_the_sheet_and_what_is_cached_is_cheaper(tmp_path: Path) -> None:
    frame = frontier(compare(two_arms(tmp_path)))
    for name, price in sheets():
        assert frame[f"$ by {name}"].iloc[-1] == pytest.approx(200 * price.input_usd + 14 * price.output_usd)
        assert price.cached_usd < price.input_usd
    assert len(sheets()) == 3
    assert price_of("anthropic/claude-haiku-4-5").cost(100, 0, 90) < price_of("anthropic/claude-haiku-4-5").cost(100, 0)


def test_the_page_and_the_markdown_say_the_prices(tmp_path: Path) -> None:
    text = markdown(compare(two_arms(tmp_path)))
    assert f"claude-haiku-4-5 reads a million tokens for {dollars(1)}, cached ones for" in text.replace("\\", "")
    assert compare(two_arms(tmp_path / "again")).plot("tokens").layout.xaxis.type == "log"
