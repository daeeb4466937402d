"""Rows of one's own: what is not a question is the same sentence from a file, a data set, a list and an iterable."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from omniopd.errors import DataError
from omniopd.evaluation.evaluate import evaluate
from omniopd.models.sampling import sample
from omniopd.models.text.chat import prompt_ids
from omniopd.models.text.conversation import conversation
from omniopd.pipeline.methods import build_trainer
from omniopd.tasks.jsonl import Jsonl
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.trainer import OmniOPDConfig, OmniOPDTrainer
from omniopd.types import Prompt
from tests.builders import tiny_model, tiny_tokenizer
from tests.small_runs import small_recipe

GOOD = [{"role": "user", "content": "hi"}]
BAD: dict[str, Any] = {
    "content null": [{"role": "user", "content": None}],
    "content missing": [{"role": "user"}],
    "content of parts": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    "content a number": [{"role": "user", "content": 5}],
    "role null": [{"role": None, "content": "x"}],
    "role missing": [{"content": "x"}],
    "role empty": [{"role": " ", "content": "x"}],
    "no messages": [],
    "messages of text": ["hi"],
    "messages null": [None],
    "nothing": None,
    "a number": 7,
    "white space": " \n",
    "an object": {"role": "user", "content": "hi"},
}
HALVES = {"text": "hi \ud83d", "message": [{"role": "user", "content": "\udc00x"}]}


def a_trainer(rows: Any) -> None:
    """The trainer's own checks, on rows as they are."""
    from tempfile import mkdtemp

    args = OmniOPDConfig(
        mkdtemp(), forks=1, samples=1, chunk_tokens=1, max_completion_length=4, per_device_train_batch_size=1,
        gradient_accumulation_steps=1, max_steps=1, bf16=False, use_cpu=True, save_strategy="no", report_to=[],
        disable_tqdm=True,
    )  # fmt: skip
    OmniOPDTrainer(tiny_model(), ScriptedTeacher(["a"]), args, rows, processing_class=tiny_tokenizer())


def from_a_file(prompt: Any, folder: Path) -> None:
    file = folder / "mine.jsonl"
    rows = [{"prompt": "1 + 1?", "answer": "2"}, {"prompt": prompt, "answer": "2"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Jsonl(file).prompts("train")


def from_a_data_set(prompt: Any, folder: Path) -> None:
    a_trainer(Dataset.from_list([{"prompt": prompt}]))


def from_a_list(prompt: Any, folder: Path) -> None:
    a_trainer([{"prompt": GOOD}, {"prompt": prompt}])


def from_an_iterable(prompt: Any, folder: Path) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"prompt": GOOD, "id": "first"}
        yield {"prompt": prompt, "id": "second"}

    a_trainer(rows())


DOORS: list[Callable[[Any, Path], None]] = [
    from_a_file, from_a_data_set, from_a_list, from_an_iterable,
]  # fmt: skip
PLACES = {
    from_a_file: r"mine\.jsonl, row 2", from_a_data_set: "the training data, row 1",
    from_a_list: "the training data, row 2", from_an_iterable: "prompt 'second'",
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_question_is_one_sentence_with_its_place(kind, door, tmp_path):
    with pytest.raises(
        DataError, match=rf"{PLACES[door]}: the prompt is .*: give a text, or a list of messages"
    ) as said:
        door(BAD[kind], tmp_path)
    assert "\n" not in str(said.value)
    assert len(str(said.value)) < 400


@pytest.mark.parametrize("door", [d for d in DOORS if d is not from_a_data_set], ids=lambda door: door.__name__)
@pytest.mark.parametrize("kind", HALVES)
def test_half_a_surrogate_pair_is_named_with_its_place(kind, door, tmp_path):
    with pytest.raises(DataError, match=rf"{PLACES[door]}: the prompt holds half a surrogate pair \(in ") as said:
        door(HALVES[kind], tmp_path)
    str(said.value).encode()  # the sentence itself can be written


def test_a_prompt_made_in_python_is_looked_at_before_a_model_reads_it():
    with pytest.raises(DataError, match="a prompt: the prompt holds half a surrogate pair"):
        sample(tiny_model(), tiny_tokenizer(), [Prompt("mine", tuple(HALVES["message"]))], max_tokens=2)
    with pytest.raises(DataError, match=r"a prompt: the prompt is \(\): give a text, or a list of messages"):
        sample(tiny_model(), tiny_tokenizer(), [Prompt("mine", ())], max_tokens=2)


def test_roles_that_a_template_refuses_are_named():
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = "{% if messages[0].role != 'user' %}{{ raise_exception('no such role') }}{% endif %}"
    with pytest.raises(DataError, match=r"refuses the conversation of robot \(no such role\): give roles"):
        prompt_ids(tokenizer, ({"role": "robot", "content": "hi"},))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"prompt": GOOD}, "text"], "the training data, row 2 is a str, not an object"),
        ([{"prompt": GOOD}, None], "the training data, row 2 is a NoneType, not an object"),
        ([{"prompts": GOOD}], "the training data, row 1 has no column 'prompt': did you mean 'prompts'"),
        ([{"prompt": GOOD}, {"prompt": "text"}], "holds texts and chats"),
        ([], "the training data holds no rows"),
        ("a text", "the training data is a str: give rows"),
        ({"prompt": ["x"]}, "the training data is a dict: give rows"),
        (5, "the training data is a int: give rows"),
        (None, "the training data is missing"),
    ],
)
def test_rows_that_are_none_are_one_sentence(rows, says):
    with pytest.raises(DataError, match=says):
        a_trainer(rows)


def test_a_list_of_rows_is_a_data_set_and_an_id_of_any_kind_a_text():
    class OfTorch:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, place: int) -> dict[str, Any]:
            return {"prompt": ({"role": "user", "content": "hi", "name": "Ann"},), "id": 7, "answer": 8}

    a_trainer([{"prompt": GOOD, "score": object()}])
    a_trainer(OfTorch())


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just("\ud800"),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_whatever_json_holds_is_a_conversation_or_a_data_error(value):
    try:
        messages = conversation(value, "here")
    except DataError as error:
        str(error).encode()
        return
    assert messages
    assert all(set(m) == {"role", "content"} and isinstance(m["content"], str) for m in messages)


def test_a_prompt_that_is_too_long_is_named_by_its_row_in_the_file(tmp_path):
    """Prompts are shuffled: the fourth that is read is not the file's fourth."""
    file = tmp_path / "train.jsonl"
    rows = [{"prompt": "word " * 600 if number == 5 else f"{number}?"} for number in range(1, 12)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = small_recipe(task__name="jsonl", task__path=str(tmp_path), task__prompts=0)
    with pytest.raises(DataError, match=r"prompt 'jsonl/train/5' has .*: drop it, or lower student\.max_tokens"):
        build_trainer(recipe, tmp_path / "out")


# ── answers are wanted where something grades ────────────────────────────────────────────────────────────────────────


def unanswered(folder: Path, **more: Any) -> Path:
    file = folder / "bare.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"{n} + 1?", **more}) + "\n" for n in range(40)), encoding="utf-8")
    return file


@pytest.mark.parametrize("more", [{}, {"answer": None}])
def test_prompts_without_answers_train_and_an_evaluation_says_what_it_lacks(tmp_path, more):
    task = Jsonl(unanswered(tmp_path, **more))
    assert all(prompt.answer is None for prompt in task.prompts("train"))
    recipe = small_recipe(task__name="jsonl", task__path=str(task.path), training__steps=1)
    build_trainer(recipe, tmp_path / "out", teacher=ScriptedTeacher(["a"] * 8))
    says = r"prompt 'jsonl/bare/\d+' has no answer, and the evaluation on 'test' grades by it: .*task\.answer_column"
    with pytest.raises(DataError, match=says):
        evaluate(tiny_model(), tiny_tokenizer(), task, max_tokens=2)


def test_grpo_says_at_its_start_that_it_has_nothing_to_grade_by(tmp_path):
    path = str(unanswered(tmp_path))
    recipe = small_recipe(task__name="jsonl", task__path=path, method="grpo", training__group=2)
    with pytest.raises(DataError, match=r"has no answer, and method \"grpo\" grades by it"):
        build_trainer(recipe, tmp_path / "out")


@pytest.mark.parametrize("answer", ["", " ", True, [1], {"a": 1}, float("nan"), float("inf"), "half \ud83d"])
def test_an_answer_that_is_none_is_refused_where_it_stands(tmp_path, answer):
    with pytest.raises(DataError, match=r"bare\.jsonl, row 1: column 'answer' (is|holds) "):
        Jsonl(unanswered(tmp_path, answer=answer)).prompts("train")


def test_a_number_of_too_many_digits_is_a_line_that_cannot_be_read(tmp_path):
    file = tmp_path / "digits.jsonl"
    file.write_text('{"prompt": "1?", "answer": "1"}\n{"prompt": "2?", "answer": ' + "9" * 5000 + "}\n")
    with pytest.raises(DataError, match=r"digits\.jsonl, line 2 is not JSON"):
        Jsonl(file).prompts("train")


def test_the_place_of_half_a_surrogate_pair_is_shown_as_it_stands_in_its_text():
    asked = [{"role": "user", "content": "\ud83d is what?"}]
    with pytest.raises(DataError, match=re.escape(r"(in '\ud83d is what?'),")):
        conversation(asked, "a prompt")
