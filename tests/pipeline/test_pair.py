"""Two students on one prompt: each answers with the same draws, and each reads what the other wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from omniopd.errors import ConfigError, DataError
from omniopd.models.loading import load_model, load_tokenizer
from omniopd.models.text.chat import prompt_ids
from omniopd.pipeline.pair import Pair
from omniopd.records import PairedAnswer
from omniopd.runs.checkpoints import Checkpoint
from omniopd.runs.frames import pair_frame
from tests.small_runs import lab, small_recipe

RECIPE = small_recipe(student__max_tokens=16)
LEFT, RIGHT = (Checkpoint(name, str(lab() / name), RECIPE) for name in ("student", "teacher"))


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair(LEFT, RIGHT)


@pytest.fixture(scope="module")
def answers(pair: Pair) -> tuple[PairedAnswer, PairedAnswer]:
    return pair.answer(pair.problems(1)[0], seed=3)


def test_each_reads_both_answers_as_a_plain_softmax_does(pair: Pair, answers) -> None:
    for one, writer in zip(answers, (LEFT, RIGHT), strict=True):
        tokenizer = load_tokenizer(writer.model)
        asked = prompt_ids(tokenizer, one.rollout.messages)
        ids = next(ids for ids in _wrote(pair, writer) if len(ids) == len(one.rollout.pieces))
        for reading, reader in ((one.left, LEFT), (one.right, RIGHT)):
            with torch.no_grad():
                logits = load_model(reader.model)(torch.tensor([[*asked, *ids]])).logits[0]
            logs = logits[len(asked) - 1 : -1].double().log_softmax(-1)
            expected = [float(logs[i, token]) for i, token in enumerate(ids)]
            assert reading.logprobs == pytest.approx(expected, abs=1e-4)
            assert reading.entropies == pytest.approx((-(logs.exp() * logs).sum(-1)).tolist(), abs=1e-4)


def test_the_same_student_twice_writes_the_same_and_moves_nowhere() -> None:
    made = Pair(LEFT, LEFT)
    left, right = made.answer(made.problems(1)[0], seed=1)
    assert left == right
    assert left.left == left.right
    assert len(made._loaded) == 1


def test_students_that_differ_only_in_how_they_are_loaded_are_two() -> None:
    wide = Checkpoint("wide", LEFT.model, small_recipe(student__max_tokens=16, student__dtype="float64"))
    made = Pair(LEFT, wide)
    left, right = made.answer(made.problems(1)[0], seed=1)
    assert [made._student(one, print).model.dtype for one in (LEFT, wide)] == [torch.float32, torch.float64]
    assert left.left is not None
    assert right.left is not None


def test_a_seed_writes_the_same_answers_again_and_another_one_others(pair: Pair, answers) -> None:
    prompt = pair.problems(1)[0]
    assert pair.answer(prompt, seed=3) == answers
    assert pair.answer(prompt, seed=4)[0].rollout.pieces != answers[0].rollout.pieces


def test_an_answer_is_graded_where_the_prompt_has_one(pair: Pair, answers) -> None:
    assert answers[0].rollout.right is False
    assert pair.answer("What is 2 plus 3?")[0].rollout.right is None


def test_students_of_different_tokenizers_answer_and_are_not_compared(pair: Pair, tmp_path: Path) -> None:
    made = Pair(LEFT, Checkpoint("embedded:student", "embedded:student"))
    left, right = made.answer(made.problems(1)[0])
    assert left.left is not None
    assert right.right is not None
    assert (left.right, right.left) == (None, None)
    assert made.difference_in_kind.startswith("student and embedded:student have different tokenizers")
    frame = pair_frame((left, right))
    assert frame.moved.isna().all()
    assert (frame.fork == "").all()


def test_a_student_that_was_deleted_is_one_sentence_with_its_name(tmp_path: Path) -> None:
    shutil.copytree(lab() / "student", tmp_path / "step-000020")
    gone = Checkpoint("runs/a@20", str(tmp_path / "step-000020"), RECIPE)
    made = Pair(LEFT, gone)
    shutil.rmtree(tmp_path / "step-000020")
    with pytest.raises(ConfigError, match=r"^runs/a@20: the model folder .* does not exist"):
        made.answer("2 plus 3?")


def test_what_goes_on_is_said_and_a_loaded_student_is_not_loaded_again() -> None:
    made, heard = Pair(LEFT, RIGHT), []
    for _ in range(2):
        made.answer("2 plus 3?", say=heard.append)
    assert [words for words in heard if "loaded" in words] == ["student is being loaded …", "teacher is being loaded …"]
    assert heard[-3:] == ["student answers …", "teacher answers …", "each reads the other's answer …"]


def test_a_prompt_that_fills_the_context_is_a_sentence(pair: Pair) -> None:
    with pytest.raises(DataError, match="and the model reads 512"):
        pair.answer("the cat " * 600)


def test_the_table_has_a_row_for_each_token_of_both(answers) -> None:
    frame = pair_frame(answers)
    assert frame.answer.value_counts().to_dict() == {
        "left": len(answers[0].rollout.pieces), "right": len(answers[1].rollout.pieces)
    }  # fmt: skip
    assert (frame.moved == frame.logprob_right - frame.logprob_left).all()
    assert frame[frame.answer == "right"].text.tolist() == list(answers[1].rollout.pieces)
    assert pair_frame(()).dtypes.to_dict() == frame.dtypes.to_dict()


def _wrote(pair: Pair, writer: Checkpoint) -> list[list[int]]:
    from omniopd.models.sampling import sample_ids

    student = pair._student(writer, print)
    return sample_ids(student.model, student.tokenizer, [pair.problems(1)[0]], 16, 1.0, 3)[0]
