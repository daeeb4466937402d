"""Competition problems have one shape, whatever their data set calls its columns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from omniopd.errors import DataError
from omniopd.tasks.jsonl import read_rows
from omniopd.tasks.math import SOURCES, Mathematics
from omniopd.types import Task

ROWS = Path(__file__).parent / "data" / "math_form.jsonl"
RIGHT = {
    "7": r"\boxed{7}", r"\frac{5}{6}": r"So it is $\boxed{5/6}$.", r"\frac18": r"\boxed{0.125}",
    r"9\pi": r"\boxed{9\pi}",
    r"6\sqrt{2}": r"\boxed{6\sqrt 2}", "1000": r"\boxed{1{,}000}",
    "(3, 6)": r"\boxed{(3,6)}", "7, -7": r"\boxed{-7, 7}",
    "(-2, 2)": r"\boxed{(-2, 2)}", "10": "The answer is 10.",
}  # fmt: skip


@pytest.fixture
def task(tmp_path: Path) -> Mathematics:
    shutil.copy(ROWS, tmp_path / "test.jsonl")
    return Mathematics(tmp_path)


def test_answers_are_graded_by_value(task: Mathematics) -> None:
    prompts = task.prompts("test")
    assert isinstance(task, Task)
    assert len(prompts) == len(RIGHT) == 10
    for prompt in prompts:
        assert prompt.messages[0]["content"].endswith(r"put the final answer into \boxed{}.")
        assert task.grade(prompt, RIGHT[prompt.answer or ""]), prompt.answer
        assert not task.grade(prompt, r"\boxed{12345}")
        assert not task.grade(prompt, "I do not know.")


def test_an_answer_is_readable_where_the_grader_finds_one(task: Mathematics) -> None:
    [prompt] = task.prompts("test", 1)
    found = {r"\boxed{1}": True, "so 12": True, "I give up": False, r"\boxed{\frac{1}{": False, "": False}
    assert {response: task.readable(prompt, response) for response in found} == found


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"problem": "p", "answer": "1", "solution": "s"}, "1"),
        ({"question": "p", "answer": 40.0}, "40.0"),
        ({"question": "p", "final_answer": ["$\\frac{1}{2}$"], "answer": None}, r"\frac{1}{2}"),
        ({"Problem": "p", "Answer": 204}, "204"),
    ],
)
def test_the_columns_of_the_known_data_sets_are_read(row: dict, answer: str, tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")
    [prompt] = Mathematics(tmp_path, instruction="").prompts("test")
    assert (prompt.messages[0]["content"], prompt.answer) == ("p", answer)


def test_known_names_are_for_measuring_and_need_the_hub_or_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert set(SOURCES) == {"math500", "aime2024", "aime2025", "amc23", "olympiadbench"}
    with pytest.raises(DataError, match="math500 is for measuring and has the split 'test' alone, not 'train'"):
        Mathematics("math500").prompts("train")
    with pytest.raises(DataError, match=r"cannot load data set 'HuggingFaceH4/MATH-500' \(split 'test'\)"):
        Mathematics("math500").prompts("test")
    with pytest.raises(DataError, match=r"there is no file or folder mth500.*did you mean 'math500'\?"):
        Mathematics("mth500").prompts("test")


def test_the_fixture_is_our_own() -> None:
    assert all(row["unique_id"].startswith("own/") for row in read_rows(ROWS))
