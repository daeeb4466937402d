"""GSM8K's form, read from a dozen problems of our own."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from omniopd.config import TaskConfig
from omniopd.errors import DataError
from omniopd.tasks.gsm8k import INSTRUCTION, Gsm8k, build
from omniopd.tasks.jsonl import read_rows

ROWS = Path(__file__).parent / "data" / "gsm8k_form.jsonl"


@pytest.fixture
def folder(tmp_path):
    shutil.copy(ROWS, tmp_path / "test.jsonl")
    return tmp_path


def test_prompts_hold_the_question_and_the_final_number_alone(folder):
    task = Gsm8k(folder, instruction="")
    prompts = {prompt.messages[0]["content"]: prompt for prompt in task.prompts("test")}
    rows = read_rows(ROWS)
    assert len(prompts) == len(rows) == 12
    assert all(prompts[row["question"]].answer == row["answer"].split("#### ")[1] for row in rows)
    assert {prompt.id for prompt in prompts.values()} == {f"gsm8k/test/{number}" for number in range(1, 13)}


def test_the_instruction_ends_the_question(folder):
    [prompt] = Gsm8k(folder, instruction="End with ####.").prompts("test", 1)
    assert prompt.messages[-1]["content"].endswith("\nEnd with ####.")


def test_the_instruction_itself_holds_nothing_that_copied_would_be_an_answer(folder):
    """A model of 135 million parameters ended half of its answers with the 42 of an example."""
    task = Gsm8k(folder)
    assert not re.search(r"\d", INSTRUCTION)
    for prompt in task.prompts("test"):
        assert not task.grade(prompt, INSTRUCTION)
        assert not task.grade(prompt, prompt.messages[-1]["content"])


def test_every_worked_answer_is_right_and_no_other_problems_answer_is(folder):
    task = Gsm8k(folder)
    worked = {row["question"]: row["answer"] for row in read_rows(ROWS)}
    prompts = Gsm8k(folder, instruction="").prompts("test")
    for prompt in prompts:
        for other in prompts:
            assert task.grade(prompt, worked[other.messages[0]["content"]]) is (prompt is other)


def test_long_questions_are_left_out_and_the_others_keep_their_ids_and_their_words(folder):
    every = {prompt.id: prompt for prompt in Gsm8k(folder).prompts("test")}
    lengths = sorted(len(row["question"]) for row in read_rows(ROWS))
    short = build(TaskConfig(path=str(folder), longest_question=lengths[3], instruction="End with ####."))
    found = short.prompts("test")
    assert len(found) == sum(length <= lengths[3] for length in lengths) < len(every)
    for prompt in found:
        assert prompt.messages[-1]["content"].endswith("\nEnd with ####.")
        question = prompt.messages[-1]["content"].removesuffix("\nEnd with ####.")
        assert every[prompt.id].messages[-1]["content"] == f"{question}\n{INSTRUCTION}"
        assert len(question) <= lengths[3]
    with pytest.raises(DataError, match=r"the questions of at most 1 characters in .* which has 0"):
        build(TaskConfig(path=str(folder), longest_question=1)).prompts("test", 1)


def test_a_single_file_is_the_split_of_its_name(folder):
    task = Gsm8k(folder / "test.jsonl")
    assert task.prompts("test", 4, seed=1) == task.prompts("test", 9, seed=1)[:4]
    with pytest.raises(DataError, match=r"has no split 'train': give the folder that holds train\.jsonl"):
        task.prompts("train")


def test_bad_input_is_told_with_its_place(folder):
    with pytest.raises(DataError, match=r"has no train\.jsonl: There is 'test'"):
        Gsm8k(folder).prompts("train")
    with pytest.raises(DataError, match="there is no file or folder"):
        Gsm8k(folder / "none.jsonl").prompts("test")
    with pytest.raises(DataError, match="ask for 1 to 12"):
        Gsm8k(folder).prompts("test", 13)
    (folder / "train.jsonl").write_text(json.dumps({"question": "1?", "answer": "It is 1."}), encoding="utf-8")
    with pytest.raises(DataError, match=r"ends with 'It is 1\.', not with ####"):
        Gsm8k(folder).prompts("train")
    (folder / "dev.jsonl").write_text(json.dumps({"Question": "1?", "answer": "#### 1"}), encoding="utf-8")
    with pytest.raises(DataError, match="has no column 'question': did you mean 'Question'"):
        Gsm8k(folder).prompts("dev")


def test_a_data_set_that_cannot_be_had_says_what_to_do(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"cannot load data set 'nobody/nothing' .* or give a local folder"):
        Gsm8k("nobody/nothing").prompts("test")
