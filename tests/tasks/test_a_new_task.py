"""A task is a file and a line: one that is plugged in here is trained on, listed, graded and evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniopd.cli.main import main
from omniopd.config import load_recipe
from omniopd.errors import ConfigError
from omniopd.runs import open_run
from omniopd.tasks.build import build_task
from omniopd.tasks.registry import TASKS
from tests.small_runs import as_words, lab, small_recipe

# The whole file of a task.
PARITY = """\
from dataclasses import dataclass

from omniopd.types import Prompt


@dataclass(frozen=True)
class Parity:
    name: str = "parity"

    def prompts(self, split, count=None, seed=0):
        first = {"train": 0, "test": 1000}[split]
        return [
            Prompt(f"parity/{number}", ({"role": "user", "content": f"Is {number} even?"},), str(number % 2 == 0))
            for number in range(first, first + (count or 100))
        ]

    def grade(self, prompt, response):
        return len(response) % 2 == 0  # what random models get right now and then


def build(settings):
    return Parity()
"""


@pytest.fixture
def parity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parity_task.py").write_text(PARITY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(TASKS, "parity", "parity_task")  # its line
    monkeypatch.chdir(tmp_path)


def test_a_task_that_is_a_file_and_a_line_is_trained_on_listed_graded_and_evaluated(
    parity: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = as_words(task__name="parity", training__steps=2)
    assert main(["train", "embedded", *words, "--name", "run"]) == 0
    run = open_run("runs/run")
    assert [step.step for step in run.steps()] == [1, 2]
    assert run.rollouts(2)[0].prompt_id.startswith("parity/")
    measured = [record for record in run.evals() if record.model == "student"]
    assert {record.step for record in measured} == {0, 2}
    assert {(record.task, record.split, len(record.problems)) for record in measured} == {("parity", "test", 3)}

    capsys.readouterr()
    assert main(["recipes", "--settings", "task"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("task.name ")]
    assert line.endswith("(stories, ledgers, gsm8k, jsonl, math, code, parity)")

    task = build_task(small_recipe(task__name="parity"))
    [prompt] = task.prompts("test", 1)
    assert [task.grade(prompt, text) for text in ("even", "odd")] == [True, False]

    words = ["task.name=parity", "evaluation.problems=3", "evaluation.samples=2", "student.max_tokens=8"]
    assert main(["evaluate", str(lab() / "student"), *words, "--out", "measured"]) == 0
    assert "parity" in Path("measured/evals.jsonl").read_text()


def test_without_its_line_there_is_no_such_task() -> None:
    with pytest.raises(ConfigError, match=r"task\.name is 'parity': it must be one of stories, ledgers, gsm8k"):
        load_recipe("labels", **{"task.name": "parity"})
