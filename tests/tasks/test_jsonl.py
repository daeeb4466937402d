"""Problems from JSON lines, and what is said when they are not as promised."""

from __future__ import annotations

import json

import pytest

from omniopd.errors import DataError
from omniopd.tasks.jsonl import Jsonl, read_rows
from omniopd.types import Prompt


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def sums(tmp_path):
    return written(tmp_path / "sums.jsonl", [{"prompt": f"What is {n} + 1?", "answer": n + 1} for n in range(40)])


def test_a_text_becomes_one_user_message_and_a_number_a_text(tmp_path):
    task = Jsonl(written(tmp_path / "one.jsonl", [{"prompt": "1 + 1?", "answer": 2}]), instruction="Be brief.")
    [prompt] = task.prompts("test")
    assert prompt == Prompt("jsonl/one/1", ({"role": "user", "content": "1 + 1?\nBe brief."},), "2")


def test_a_chat_is_kept_and_columns_have_any_name(tmp_path):
    chat = [{"role": "system", "content": "You add."}, {"role": "user", "content": "1 + 1?"}]
    file = written(tmp_path / "chat.jsonl", [{"chat": chat, "gold": "2", "other": None}])
    [prompt] = Jsonl(file, prompt_column="chat", answer_column="gold").prompts("test")
    assert prompt.messages == tuple(chat)


def test_one_file_is_divided_into_disjoint_splits_that_hold_everything(sums):
    task = Jsonl(sums, held_out=0.2)
    train, test = ({prompt.id for prompt in task.prompts(split)} for split in ("train", "test"))
    assert len(test) == 8
    assert not train & test
    assert len(train | test) == 40


def test_a_question_asked_twice_is_in_one_split(tmp_path):
    rows = [{"prompt": f"{n % 10}?", "answer": "1"} for n in range(30)]
    task = Jsonl(written(tmp_path / "twice.jsonl", rows), held_out=0.5)
    train, test = ({prompt.messages[0]["content"] for prompt in task.prompts(split)} for split in ("train", "test"))
    assert not train & test


def test_the_same_seed_gives_the_same_prompts_and_a_longer_list_begins_with_the_shorter(sums):
    task = Jsonl(sums)
    assert task.prompts("train", 5, seed=3) == task.prompts("train", 20, seed=3)[:5]
    assert task.prompts("train", 5, seed=3) != task.prompts("train", 5, seed=4)


def test_a_folder_has_one_file_for_each_split(tmp_path):
    written(tmp_path / "dev.jsonl", [{"prompt": "1?", "answer": "1"}])
    task = Jsonl(tmp_path)
    assert len(task.prompts("dev")) == 1
    with pytest.raises(DataError, match=r"has no deb\.jsonl: did you mean 'dev'"):
        task.prompts("deb")


def test_grading_compares_with_the_prompts_answer(sums):
    task = Jsonl(sums)
    [prompt] = task.prompts("train", 1)
    assert task.grade(prompt, f"#### {prompt.answer}")
    assert not task.grade(prompt, f"#### {prompt.answer}0")
    with pytest.raises(DataError, match="'own' has no answer"):
        task.grade(Prompt("own", ()), "5")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"prompt": "1?", "answer": "1"}\n{"prompt": "2?"\n', r"bad\.jsonl, line 2 is not JSON"),
        (b'{"prompt": "1?", "answer": "1"}\n\n{"prompt": "\xff"}\n', r"bad\.jsonl, line 3 is not UTF-8 \(byte 0xff\)"),
        (b"[1, 2]\n", r"bad\.jsonl, line 1 is a JSON list, not an object"),
        (b"\n \n", r"bad\.jsonl holds no rows"),
        (b"", r"bad\.jsonl holds no rows"),
        (b'{"Prompts": "1?", "answer": "1"}\n', r"row 1 has no column 'prompt': did you mean 'Prompts'\?"),
        (b'{"prompt": "1?", "anwser": "1"}\n', r"row 1 has no column 'answer': did you mean 'anwser'\?"),
        (b'{"prompt": "1?", "answer": []}\n', r"row 1: column 'answer' is \[\]"),
        (b'{"prompt": ["1?"], "answer": "1"}\n', r"row 1: the prompt is \['1\?'\]: give a text"),
        (b"[" * 100_000, r"line 1 is not JSON"),
    ],
)
def test_bad_input_is_one_sentence_with_the_place(tmp_path, content, says):
    file = tmp_path / "bad.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=says) as told:
        Jsonl(file).prompts("train")
    assert "\n" not in str(told.value)


def test_a_missing_file_an_unknown_split_and_too_many_prompts_say_the_way_out(sums):
    with pytest.raises(DataError, match=r"cannot read .*none\.jsonl"):
        Jsonl(sums.with_name("none.jsonl")).prompts("train")
    with pytest.raises(DataError, match="has no split 'dev'"):
        Jsonl(sums).prompts("dev")
    with pytest.raises(DataError, match="ask for 1 to 36"):
        Jsonl(sums).prompts("train", 37)


def test_a_byte_order_mark_and_unicode_line_separators_do_no_harm(tmp_path):
    file = tmp_path / "odd.jsonl"
    file.write_bytes("\ufeff".encode() + '{"prompt": "a\u2028b", "answer": "1"}\r\n'.encode())
    assert read_rows(file) == [{"prompt": "a\u2028b", "answer": "1"}]
