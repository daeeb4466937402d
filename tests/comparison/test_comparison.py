"""Facts about comparing runs: seeds are units, nothing doubtful is averaged in, the verdict follows the interval."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from omniopd.cli.main import main
from omniopd.comparison import compare, comparison_page, paper_cost
from omniopd.config import Recipe, load_recipe
from omniopd.embedded import RECORDED
from omniopd.errors import DataError
from omniopd.records import EvalRecord, ProblemResult, StepRecord
from omniopd.runs.store import Run, create_run

STEPS = 2


def evaluated(right: int, temperature: float = 0.0, step: int = STEPS, problems: int = 10) -> EvalRecord:
    results = tuple(ProblemResult(f"p{i}", int(i < right), 1) for i in range(problems))
    return EvalRecord("student", "stories", "test", temperature, 1, 0, 8, results, step=step)


def finished(folder: Path, right: int, seed: int = 0, before: int = 2, problems: int = 10, **settings: object) -> Run:
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    recipe: Recipe = load_recipe("embedded", **{"training.steps": STEPS, "seed": seed, **dotted})
    run = create_run(folder, recipe, f"run-{len(list(folder.glob('*')))}")
    run.append(evaluated(before, step=0, problems=problems))
    for step in range(1, STEPS + 1):
        run.append(
            StepRecord(step, 0.5, 0.4, 0.1, {"length/mean": 10.0}, input_tokens=100, output_tokens=7, cost_usd=0.5)
        )
    run.append(evaluated(right, problems=problems))
    run.set_status(state="finished", step=STEPS)
    return run


def test_the_papers_formula_gives_the_papers_numbers() -> None:
    assert [round(paper_cost(m, 10, c), 2) for m, c in ((5, 50), (10, 50), (10, 100))] == [0.88, 1.75, 3.0]


def test_runs_that_differ_in_their_seed_are_one_arm_and_seeds_are_the_units(tmp_path: Path) -> None:
    runs = [finished(tmp_path, right, seed, name="ours") for seed, right in enumerate((9, 8, 10))]
    runs += [
        finished(tmp_path, right, seed, name="theirs", objective__control="constant")
        for seed, right in enumerate((3, 2, 4))
    ]
    found = compare(runs)
    assert [(arm.name, [s.seed for s in arm.seeds]) for arm in found.arms] == [
        ("ours", [0, 1, 2]),
        ("theirs", [0, 1, 2]),
    ]
    difference = found.difference(found.arms[1])
    assert difference is not None
    assert (difference.mean, difference.units) == (pytest.approx(0.6), 3)
    assert found.arms[1].settings == {"objective.control": "constant"}
    assert found.verdicts() == ["ours beside theirs: +60.0 points [+60.0, +60.0]: better (seeds are the units)"]


def test_an_interval_that_holds_0_shows_no_difference(tmp_path: Path) -> None:
    runs = [finished(tmp_path, right, seed, name="ours") for seed, right in enumerate((9, 4))]
    runs += [
        finished(tmp_path, right, seed, name="theirs", objective__depth=1, audit__forks=3)
        for seed, right in enumerate((5, 8))
    ]
    [sentence] = compare(runs).verdicts()
    assert "no difference shown" in sentence


def test_one_seed_is_compared_problem_by_problem(tmp_path: Path) -> None:
    found = compare([finished(tmp_path, 9, name="a"), finished(tmp_path, 3, name="b", audit__forks=3)])
    difference = found.difference(found.arms[1])
    assert difference is not None
    assert difference.units == 10
    assert "(problems are the units)" in found.verdicts()[0]


def test_what_it_took_is_stated_per_run(tmp_path: Path) -> None:
    table = compare([finished(tmp_path, 9)]).table()
    row = table.iloc[0]
    assert (row["updates"], row["student tokens"], row["teacher read"], row["teacher written"], row["usd"]) == (
        2, 2 * 10 * 64, 200, 14, 1.0,
    )  # fmt: skip
    assert row["rise, points"] == "70.0"
    assert math.isclose(row["cost by the paper"], paper_cost(16, 8, 1))


def test_doubtful_runs_are_named_and_left_out(tmp_path: Path) -> None:
    good = [finished(tmp_path, 9, seed, name="ours") for seed in (0, 1)]
    unfinished = finished(tmp_path, 1, 2, name="ours")
    unfinished.set_status(state="failed")
    damaged = finished(tmp_path, 1, 3, name="ours")
    (damaged.path / "evals.jsonl").write_text("{broken\n")
    elsewhere = finished(tmp_path, 1, 4, name="ours", problems=5)
    again = finished(tmp_path, 1, 1, name="ours")
    other = finished(tmp_path, 3, 0, name="other", audit__forks=3)
    found = compare([*good, unfinished, damaged, elsewhere, again, other, tmp_path / "nowhere"])
    assert [s.run.path for s in found.arms[0].seeds] == [run.path for run in good]
    said = "\n".join(found.problems)
    for run, word in (
        (unfinished, "it is failed"),
        (damaged, "cannot be read"),
        (elsewhere, "other problems"),
        (again, "same settings and seed"),
    ):
        assert any(str(run.path) in line and word in line for line in found.problems), (run, said)
    assert "nowhere is no run" in said
    assert "other lacks seed 1" in said


def test_nothing_to_compare_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is nothing to compare: .* is no run"):
        compare([tmp_path])


def test_the_page_loads_and_runs_nothing_and_shows_names_as_they_are(tmp_path: Path) -> None:
    runs = [finished(tmp_path, 9, name="<script>alert(1)</script>"), finished(tmp_path, 3, name="b", audit__forks=3)]
    page = comparison_page(compare(runs), tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "default-src 'none'" in page
    assert "<svg" in page


def test_the_command_finds_runs_writes_the_page_and_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "report",
        str(RECORDED),
        "--reference",
        "labels",
        "--out",
        str(tmp_path / "r.html"),
        "--export",
        str(tmp_path / "r.csv"),
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "labels beside self_teacher: +" in said
    assert (tmp_path / "r.html").stat().st_size > 5000
    assert (tmp_path / "r.csv").read_text().startswith("arm,seeds")
    assert main(["report", str(tmp_path / "empty")]) == 2
    assert "holds no run" in capsys.readouterr().err
