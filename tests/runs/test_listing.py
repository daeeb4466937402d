"""Facts about the table of runs: one row a run wherever it stands, sums that count, damage with its reason."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import omniopd
from omniopd.config import load_recipe
from omniopd.errors import RunError
from omniopd.launch.folder import Launch, write_launch
from omniopd.records import EvalRecord, ProblemResult, StepRecord
from omniopd.reports.summary import outcome
from omniopd.runs.listing import COLUMNS, SAID, run_folders
from omniopd.runs.status import Status, write_status
from omniopd.runs.store import STATUS, Run, create_run


def made(folder: Path, place: str, seed: int = 0, **settings: object) -> Run:
    recipe = load_recipe("labels", **{"name": "labels", "seed": seed, "training.steps": 2, **settings})
    run = create_run(folder, recipe, place)
    for step, right in ((0, 1), (2, 3)):
        for temperature, less in ((0.0, 1), (1.0, 0)):
            results = tuple(ProblemResult(f"p{i}", int(i < right - less), 1) for i in range(4))
            run.append(EvalRecord("student", "stories", "test", temperature, 1, seed, 8, results, step=step))
    for step in (1, 2):
        run.append(StepRecord(step, 0.5, 0.4, 0.1, {"length/mean": 10.0, "step_time": 1.5}, {}, 100, 7, 0.25))
    run.set_status(state="finished", step=2)
    return run


def test_a_run_is_a_row_wherever_it_stands(tmp_path: Path) -> None:
    for arm in ("labels", "paper"):
        for seed in (1, 0):
            made(tmp_path / "embedded" / arm, f"seed={seed}", seed, name=arm)
    made(tmp_path, "alone")
    table = omniopd.runs.table(tmp_path)
    assert list(table.columns) == [*COLUMNS, *SAID]
    assert omniopd.runs(tmp_path).equals(table)  # the promised name
    assert set(table.index) == {"alone", *(f"embedded/{a}/seed={s}" for a in ("labels", "paper") for s in (0, 1))}
    assert table.groupby("arm").seed.apply(sorted).to_dict() == {"labels": [0, 0, 1], "paper": [0, 1]}


def test_a_row_says_what_came_out_and_what_it_took(tmp_path: Path) -> None:
    made(tmp_path, "one", 3, method="white_box", **{"evaluation.controls": []})
    [row] = omniopd.runs.table(tmp_path).to_dict("records")
    assert (row["name"], row["arm"], row["method"], row["seed"], row["state"]) == (
        "one", "labels", "white_box", 3, "finished",
    )  # fmt: skip
    assert (row["accuracy_before"], row["best_accuracy"], row["gain"], row["greedy"]) == (0.25, 0.75, 0.5, 0.5)
    assert (row["step"], row["steps"], row["samples"], row["student_tokens"]) == (2, 2, 128, 1280)
    assert (row["teacher_read"], row["teacher_written"], row["teacher_tokens"]) == (200, 14, 214)
    assert (row["cost_usd"], row["seconds"], row["path"]) == (0.5, 3.0, str(tmp_path / "one"))


def test_looks_during_training_are_not_mixed_in(tmp_path: Path) -> None:
    run = made(tmp_path, "one")
    table, right = outcome(run), (ProblemResult("p0", 1, 1),)
    run.append(EvalRecord("student", "stories", "test", 1.0, 1, 0, 8, right, step=2))
    run.append(EvalRecord("student", "stories", "dev", 0.0, 1, 0, 8, right * 9, step=2))
    run.append(EvalRecord("student", "stories", "dev", 1.0, 1, 0, 8, right, step=3))
    [row] = omniopd.runs.table(tmp_path).to_dict("records")
    assert (row["accuracy_before"], row["best_accuracy"], row["greedy"]) == (0.25, 0.75, 0.5)
    assert outcome(run) == table
    assert "of 4 held-out problems" in table


def test_what_cannot_be_read_keeps_its_row_with_the_reason(tmp_path: Path) -> None:
    made(tmp_path / "deep" / "er", "good")
    bad = made(tmp_path, "bad")
    (bad.path / "evals.jsonl").write_text("{broken\n")
    table = omniopd.runs.table(tmp_path)
    assert table.loc["bad"].state == "unreadable"
    assert "line 1" in table.loc["bad"].message
    assert table.loc["deep/er/good"].state == "finished"
    with pytest.raises(RunError, match="is not a folder"):
        omniopd.runs.table(tmp_path / "nowhere")


def test_what_was_not_measured_is_not_a_number(tmp_path: Path) -> None:
    create_run(tmp_path, load_recipe("labels"), "new")
    [row] = omniopd.runs.table(tmp_path).to_dict("records")
    assert [math.isnan(row[name]) for name in ("accuracy_before", "best_accuracy", "gain", "greedy")] == [True] * 4
    assert (row["samples"], row["student_tokens"]) == (0, 0)


def test_what_a_run_holds_is_no_run_of_the_folder(tmp_path: Path) -> None:
    run = made(tmp_path, "one")
    copy = run.path / "set_aside" / "then"
    copy.mkdir(parents=True)
    (copy / "manifest.json").write_text((run.path / "manifest.json").read_text())
    assert run_folders(tmp_path) == [run.path]
    assert run_folders(run.path) == [run.path]
    assert run_folders(tmp_path / "nowhere") == []


def test_a_launched_notebook_without_a_run_keeps_its_row_and_is_no_run(tmp_path: Path) -> None:
    made(tmp_path, "one")
    place = tmp_path / "sweep" / "x=1"
    write_launch(place, Launch("look.ipynb", {"x": 1}, created="2026-11-29T10:00:00Z"))
    write_status(place / STATUS, Status("failed", message="cell 2: ValueError: x"))
    row = omniopd.runs.table(tmp_path).loc["sweep/x=1"]
    assert (row["state"], row["arm"], row["message"]) == ("failed", "look", "cell 2: ValueError: x")
    assert row["created"] == "2026-11-29T10:00:00Z"
    assert run_folders(tmp_path) == [tmp_path / "one"]  # of which alone there is something to compare
    write_status(place / STATUS, Status("running", pid=1))
    assert omniopd.runs.table(tmp_path).loc["sweep/x=1", "state"] == "lost"


def test_seconds_are_those_of_the_steps_whatever_the_trainer_calls_them(tmp_path: Path) -> None:
    run = made(tmp_path, "one")
    run.append(StepRecord(3, 0.5, 0.5, 0.0, seconds={"step": 4.0}))  # SFT's
    run.append(StepRecord(4, 0.5, 0.5, 0.0, seconds={"sampling": 1.0, "rest": 0.5}))
    assert omniopd.runs.table(tmp_path).loc["one", "seconds"] == 3.0 + 4.0 + 1.5
    assert "4 steps took 8.5 s" in outcome(run)
