"""Runs for comparisons: written by hand, with as many right answers as a test wants, at as many budgets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from omniopd.config import load_recipe
from omniopd.records import EvalRecord, ProblemResult, StepRecord
from omniopd.runs.store import Run, create_run

STEPS, ROLLOUTS, PROBLEMS = 2, 64, 10
FINAL = STEPS * ROLLOUTS


def evaluated(
    right: int, temperature: float = 0.0, step: int = STEPS, problems: int = PROBLEMS, seed: int = 0
) -> EvalRecord:
    """The first `right` of the problems are right."""
    results = tuple(ProblemResult(f"p{i}", int(i < right), 1) for i in range(problems))
    return EvalRecord("student", "stories", "test", temperature, 1, seed, 8, results, step=step)


def finished(
    folder: Path,
    right: int,
    seed: int = 0,
    before: int | None = 2,
    problems: int = PROBLEMS,
    at: Mapping[int, int] | None = None,
    **settings: object,
) -> Run:
    """A run of two steps with `right` right answers at its end, `at[step]` after a step, `before` untrained."""
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    recipe = load_recipe("labels", **{"training.steps": STEPS, "seed": seed, **dotted})
    run = create_run(folder, recipe, f"run-{len(list(folder.glob('*'))) if folder.is_dir() else 0:03d}")
    if before is not None:
        run.append(evaluated(before, step=0, problems=problems, seed=seed))
    for step in range(1, STEPS + 1):
        run.append(
            StepRecord(step, 0.5, 0.4, 0.1, {"length/mean": 10.0}, input_tokens=100, output_tokens=7, cost_usd=0.5)
        )
        if step in (at or {}):
            run.append(evaluated((at or {})[step], step=step, problems=problems, seed=seed))
    run.append(evaluated(right, problems=problems, seed=seed))
    run.set_status(state="finished", step=STEPS)
    return run
