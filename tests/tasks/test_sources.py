"""Data sets are read as the hub has them, from copies of the same shape with rows of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from omniopd.errors import DataError
from omniopd.tasks.code import Code
from omniopd.tasks.code_problems import problem_of
from omniopd.tasks.gsm8k import Gsm8k
from omniopd.tasks.math import SOURCES, Mathematics
from omniopd.tasks.sources import rows_of

Row = dict[str, Any]
OLYMPIAD = {
    "id": 1, "question": "q", "solution": ["s"], "final_answer": ["$\\frac{1}{2}$, $3$"], "context": None,
    "modality": "Text-only", "difficulty": "Competition", "is_multiple_answer": True, "unit": None,
    "answer_type": "Numerical", "error": None, "question_type": "Open-ended", "subfield": "Algebra",
    "subject": "Math", "language": "English",
}  # fmt: skip
# Where a data set keeps the rows of its one split on the hub, and a row of its columns.
COPIES: dict[str, tuple[str, Row]] = {
    "math500": ("test.jsonl", {
        "problem": "q", "solution": "s", "answer": "\\frac{1}{2}", "subject": "Algebra", "level": 2,
        "unique_id": "own/1",
    }),
    "aime2024": ("data/train-00000-of-00001.parquet", {
        "id": 1, "problem": "q", "solution": "s", "answer": "073", "url": "u", "year": "2024",
    }),
    "aime2025": ("test.jsonl", {"problem": "q", "answer": "70", "id": "0"}),
    "amc23": ("test-00000-of-00001.parquet", {"id": 0, "question": "q", "answer": 27.0, "url": "u"}),
    "olympiadbench": ("OE_TO_maths_en_COMP/OE_TO_maths_en_COMP.parquet", OLYMPIAD),
}  # fmt: skip
RIGHT = {
    "math500": "\\boxed{0.5}", "aime2024": "\\boxed{73}", "aime2025": "so \\boxed{070}", "amc23": "The answer is 27.",
    "olympiadbench": "\\boxed{3, \\frac12}",
}  # fmt: skip
CARD = """\
---
configs:
- config_name: OE_TO_maths_en_COMP
  data_files:
  - split: train
    path: OE_TO_maths_en_COMP/*
---
"""


def write(file: Path, rows: list[Row]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        Dataset.from_list(rows).to_parquet(file)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("card", [False, True])
def test_each_known_data_set_is_read_and_graded(
    name: str, card: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, row = COPIES[name]
    monkeypatch.chdir(tmp_path)
    write(Path(SOURCES[name].dataset) / file, [row])
    if card:
        (Path(SOURCES[name].dataset) / "README.md").write_text(CARD if name == "olympiadbench" else "# A card\n")
    task = Mathematics(name, instruction="")
    [prompt] = task.prompts("test")
    assert (prompt.id, prompt.messages[0]["content"]) == (f"{name}/test/1", "q")
    assert task.grade(prompt, RIGHT[name])
    assert not task.grade(prompt, "\\boxed{3}")


@pytest.mark.parametrize(
    ("answer", "right", "wrong"),
    [
        (["$(1,8,19), (2,7,13)$"], "\\boxed{(2,7,13), (1,8,19)}", "\\boxed{(1,8,19)}"),
        (["$x=1$, $x=2$"], "\\boxed{x=2, x=1}", "\\boxed{x=1}"),
        (["2", "3"], "\\boxed{3, 2}", "\\boxed{2}"),
        (["$10$"], "\\boxed{10 \\text{ cm}}", "\\boxed{10.1 \\text{ cm}}"),
        (["$(-\\infty,-3) \\cup(3,\\infty)$"], "\\boxed{(-\\infty,-3)\\cup(3,\\infty)}", "\\boxed{(3,\\infty)}"),
        (["$\\pm \\frac{1}{2}$"], "\\boxed{\\frac12, -\\frac12}", "\\boxed{\\frac12}"),
    ],
)
def test_lists_of_answers_count_whole_in_any_order_with_or_without_their_unit(
    answer: list[str], right: str, wrong: str, tmp_path: Path
) -> None:
    write(tmp_path / "test.parquet", [OLYMPIAD | {"final_answer": answer}])
    task = Mathematics(tmp_path / "test.parquet")
    [prompt] = task.prompts("test")
    assert task.grade(prompt, right)
    assert not task.grade(prompt, wrong)


def test_a_copy_of_gsm8k_is_a_folder_of_parquet_files(tmp_path: Path) -> None:
    write(tmp_path / "main/test-00000-of-00001.parquet", [{"question": "q", "answer": "1+1=2\n#### 2"}])
    [prompt] = Gsm8k(tmp_path).prompts("test")
    assert prompt.answer == "2"


def test_code_data_sets_are_read_as_the_hub_has_them(tmp_path: Path) -> None:
    cases = {"input": ["1\n"], "output": ["2\n"]}
    contest = {
        "name": "n", "description": "Double it.", "public_tests": cases, "private_tests": {"input": [], "output": []},
        "generated_tests": cases, "source": 2, "difficulty": 7, "time_limit": {"seconds": 2, "nanos": 0},
    }  # fmt: skip
    write(tmp_path / "contests/data/test-00000-of-00001-9c49.parquet", [contest])
    pairs = contest | {"public_tests": [{"input": "1\n", "output": "2\n"}], "generated_tests": None}
    write(tmp_path / "pairs/data/test-00000-of-00001.parquet", [pairs])
    apps = {
        "problem_id": 0, "question": "Double it.", "solutions": "[]", "difficulty": "interview", "url": "u",
        "input_output": json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]}), "starter_code": "",
    }  # fmt: skip
    write(tmp_path / "apps/test.jsonl", [apps])
    taco = apps | {"tags": "[]", "time_limit": None, "Expected Time Complexity": None, "name": None}
    write(tmp_path / "taco/test/data-00000-of-00001.parquet", [taco])
    for name, count in (("contests", 2), ("pairs", 1), ("apps", 1), ("taco", 1)):
        assert len(Code(tmp_path / name).prompts("test")) == 1
        [row] = rows_of(tmp_path / name, "test")[0]
        assert problem_of(row, name).cases == (("1\n", "2\n"),) * count
    for damaged in ("{", [1], {"input": 3}):
        with pytest.raises(DataError, match=r"row: public_tests holds no inputs and outputs"):
            problem_of(contest | {"public_tests": damaged}, "row")


def test_an_id_with_a_dot_is_an_id_and_a_missing_file_is_none() -> None:
    with pytest.raises(DataError, match=r"cannot load data set 'AI-MO/NuminaMath-1.5' \(split 'test'\)"):
        rows_of("AI-MO/NuminaMath-1.5", "test")
    with pytest.raises(DataError, match=r"no file or folder data/problems\.jsonl, and a data set's id has the form"):
        rows_of("data/problems.jsonl", "test")


def test_what_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "test.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"cannot load .*test\.parquet: .*or give a local folder"):
        rows_of(tmp_path / "test.parquet", "test")
    write(tmp_path / "set/data/train-00000-of-00001.parquet", [{"question": "q"}])
    with pytest.raises(DataError, match=r"cannot load data set .*split 'test'.*test\.jsonl"):
        rows_of(tmp_path / "set", "test")
    (tmp_path / "script").mkdir()
    (tmp_path / "script/script.py").write_text("print('never run')")
    (tmp_path / "script/extra.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="Dataset scripts are no longer supported"):
        rows_of(tmp_path / "script", "test")
