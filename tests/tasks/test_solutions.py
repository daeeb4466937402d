"""Where a row's worked solution comes from, task by task; grades and what the student reads stay as they are."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omniopd.config import Recipe, TaskConfig
from omniopd.errors import DataError
from omniopd.evaluation.folder import everything_asked
from omniopd.tasks.build import build_task
from omniopd.tasks.gsm8k import Gsm8k
from omniopd.tasks.jsonl import Jsonl, read_rows
from omniopd.tasks.math import Mathematics
from omniopd.tasks.stories import Stories
from omniopd.types import Prompt

GSM8K = Path(__file__).parent / "data" / "gsm8k_form.jsonl"


def one(tmp_path: Path, **row: Any) -> Path:
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps({"prompt": "1 + 1?", "answer": "2", **row}) + "\n", encoding="utf-8")
    return file


def solution_of(file: Path, column: str = "why") -> str | None:
    [prompt] = Jsonl(file.parent, solution_column=column).prompts("train")
    return prompt.solution


def test_a_story_has_one_of_its_worked_answers() -> None:
    task = Stories()
    for prompt in task.prompts("test", 20):
        assert prompt.solution == task.worked_answer(prompt)
        assert task.grade(prompt, prompt.solution or "")


def test_gsm8k_has_the_whole_of_its_answer(tmp_path: Path) -> None:
    shutil.copy(GSM8K, tmp_path / "test.jsonl")
    wanted = {row["question"]: row["answer"] for row in read_rows(GSM8K)}
    prompts = Gsm8k(tmp_path, instruction="").prompts("test")
    assert {prompt.messages[0]["content"]: prompt.solution for prompt in prompts} == wanted


@pytest.mark.parametrize(
    ("value", "solution"),
    [
        ("because", "because"),
        (["one", "two"], "one\n\ntwo"),
        ("", None), (" \n", None), ([], None), (None, None), (2, None), ({"a": "b"}, None), (["a", 1], None),
        ("half \ud83d of it", None),
    ],
)  # fmt: skip
def test_a_column_of_a_file_is_a_text_or_a_list_of_them_or_nothing(
    value: Any, solution: str | None, tmp_path: Path
) -> None:
    assert solution_of(one(tmp_path, why=value)) == solution


def test_a_file_has_none_unless_its_column_is_named(tmp_path: Path) -> None:
    file = one(tmp_path, why="because", solution="so")
    assert solution_of(file, "") is None
    assert solution_of(file, "solution") == "so"
    with pytest.raises(DataError, match=r"row 1 has no column 'wy': did you mean 'why'\?.*task.solution_column"):
        solution_of(one(tmp_path, why="because"), "wy")


def test_mathematics_has_its_own_column_and_another_where_it_is_named(tmp_path: Path) -> None:
    row = {"problem": "1 + 1?", "solution": ["so", "then"], "hint": "count"}
    file = one(tmp_path, **row)
    settings = TaskConfig(name="math", path=str(file.parent))
    [prompt] = Mathematics(tmp_path).prompts("train")
    [named] = build_task(Recipe(task=replace(settings, solution_column="hint"))).prompts("train")
    assert (prompt.solution, named.solution) == ("so\n\nthen", "count")
    [without] = Mathematics(one(tmp_path, problem="1 + 1?", solutions="x").parent).prompts("train")
    assert without.solution is None


def test_a_solution_changes_neither_a_prompt_nor_what_an_evaluation_is_called(tmp_path: Path) -> None:
    file = one(tmp_path, why="because")
    [plain], [solved] = (Jsonl(file.parent, solution_column=c).prompts("train") for c in ("", "why"))
    assert plain == replace(solved, solution=None) == Prompt("jsonl/train/1", plain.messages, "2")
    asked = [everything_asked(Recipe(task=TaskConfig(solution_column=column)), "w") for column in ("", "why")]
    assert asked[0] == asked[1]
    assert "solution_column" not in asked[0]["task"]
