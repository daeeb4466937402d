"""A study of runs small enough for a test, and a cluster's view of it."""

from __future__ import annotations

import json
from pathlib import Path

from omniopd.runs import open_run
from tests.small_runs import settings


def small_study(folder: Path, steps: int = 20, arms: str = "") -> Path:
    """`small.toml` in a folder: an arm "plain" on two seeds, and what `arms` adds."""
    small = settings(training__steps=steps, training__threads=1, evaluation__before=False, evaluation__problems=4)
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in small.items()]
    path = folder / "small.toml"
    path.write_text(
        'recipe = "embedded"\nreference = "plain"\nseeds = [0, 1]\n[settings]\n' + "\n".join(lines)
        + f"\n[arms.plain]\n{arms}"
    )  # fmt: skip
    return path


def steps_of(path: Path) -> int:
    """How many steps a run has recorded."""
    file = path / "steps.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def figures(path: Path) -> list[tuple]:
    """What a finished run measured, without what a clock says: losses of its steps, answers of its evaluations."""
    run = open_run(path)
    assert run.state == "finished", run.status
    return [(s.step, s.loss) for s in run.steps()] + [
        (e.step, e.temperature, [(p.prompt_id, p.right) for p in e.problems]) for e in run.evals()
    ]
