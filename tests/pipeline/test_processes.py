"""One recipe in several processes is the run of one: its gradient, rollouts, audits, evaluations, cost and end."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from omniopd.config import load_recipe
from omniopd.pipeline.run import run_training
from omniopd.runs.store import Run, open_run
from tests.forked import Ended, Forked, command, results
from tests.small_runs import as_words, settings

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

CLOCKS = ("seconds", "step_time", "time", "kind")
# Baselines and what else a method has of its own.
METHODS: dict[str, dict[str, Any]] = {
    "white_box": {},
    "white_box_sampled": {},
    "sft": {},
    "grpo": {"training__group": 2, "training__allow_zero_gradient": "true", "objective__anchor_weight": 0.1},
    "continuations": {},
}


@pytest.fixture(scope="module")
def ones(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The run of a recipe in a single process."""

    @cache
    def one(recipe: str) -> Run:
        small = settings(evaluation__controls=["shuffled"], training__probe_prompts=1)
        return run_training(load_recipe(recipe, **small), tmp_path_factory.mktemp("runs"), "one", show=False)

    return one


@pytest.mark.parametrize(("recipe", "count"), [("labels", 2), ("labels", 4), ("embedded", 2)])
def test_records_and_evaluations_are_those_of_one_process(
    ones: Callable[[str], Run], tmp_path: Path, recipe: str, count: int
) -> None:
    one = ones(recipe)
    words = as_words(evaluation__controls='["shuffled"]', training__probe_prompts=1)
    ended = in_processes(tmp_path, count, "train", recipe, *words, "--name", "many", "--quiet")
    assert [each.code for each in ended] == [0] * count
    many = open_run(tmp_path / "many")
    assert many.state == "finished"
    assert many.manifest.hardware["processes"] == count
    assert many.rollout_steps() == one.rollout_steps()
    for step in one.rollout_steps():
        assert_same(*([asdict(record) for record in run.rollouts(step)] for run in (one, many)))
    for what in (Run.steps, Run.evals):
        assert_same(*([asdict(record) for record in what(run)] for run in (one, many)))
    # The main one speaks for all.
    assert "loads with" in ended[0].out
    assert not any(each.out + each.err for each in ended[1:])


@pytest.mark.parametrize("count", [2, 4])
def test_the_first_gradient_is_that_of_one_process(tmp_path: Path, count: int) -> None:
    whole = first_gradient(tmp_path / "one")
    for shared in results(tmp_path, count, first_gradient, tmp_path / "many"):
        assert float((shared - whole).norm() / whole.norm()) < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_in_two_processes_what_it_learns_in_one(tmp_path: Path, method: str) -> None:
    more = {"method": method, "evaluation__temperatures": "[]", "training__steps": 2} | METHODS[method]
    for count in (1, 2):
        words = "train", "labels", *as_words(**more), "--name", str(count), "--quiet"
        ended = in_processes(tmp_path, count, *words)
        assert [each.code for each in ended] == [0] * count, ended[0].err
    assert_same(*([asdict(step) for step in open_run(tmp_path / name).steps()] for name in "12"))


def first_gradient(folder: Path) -> torch.Tensor:
    """Of the embedded student, over all its weights."""
    from transformers import TrainerCallback

    from omniopd.pipeline.methods import build_trainer

    found: list[torch.Tensor] = []

    class Take(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            wholes = [g.full_tensor() if hasattr(g, "full_tensor") else g for g in grads]  # of weights in pieces
            found.append(torch.cat([g.flatten() for g in wholes]).clone())

    small = settings(training__steps=1, training__rollouts=8, training__max_equal_share=1.0, student__max_tokens=16)
    small |= {"student.model": "embedded:student", "teacher.model": "embedded:teacher"}
    torch.set_num_threads(1)
    trainer = build_trainer(load_recipe("embedded", **small), folder, callbacks=[Take()])
    trainer.args.save_strategy = "no"
    trainer.train()
    return found[0]


def in_processes(folder: Path, count: int, *words: str) -> list[Ended]:
    return Forked(folder / "said", count, command, *words, "--runs", str(folder)).ended()


def assert_same(one: Any, many: Any, place: str = "") -> None:
    """Words and counts are equal, numbers but for their rounding; clocks may differ."""
    if isinstance(one, dict):
        assert one.keys() == many.keys(), place
        for name in one:
            if name not in CLOCKS and not name.startswith("seconds/"):
                assert_same(one[name], many[name], f"{place}.{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(many), place
        for index, pair in enumerate(zip(one, many, strict=True)):
            assert_same(*pair, place=f"{place}[{index}]")
    elif isinstance(one, float):
        assert math.isclose(one, many, rel_tol=1e-3, abs_tol=1e-6) or (math.isnan(one) and math.isnan(many)), place
    else:
        assert one == many, place
