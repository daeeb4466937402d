"""Whoever answers: one answer per request, of the right shape and in its place, or an error that names the teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omniopd.auditing import audit
from omniopd.errors import TeacherError
from omniopd.method.tensors import edit_similarity
from omniopd.teachers.asking import ask
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.types import ContinuationRequest, Continuations, Fork, Teacher, Usage
from tests.builders import request, rollout

Answering = Callable[[list[ContinuationRequest], Any], Any]
ASKED = [request(prefix, 2, seed=seed) for seed, prefix in enumerate("abc")]


class Mine:
    """A teacher of one's own."""

    name = "mine-7b"

    def __init__(self, answering: Answering) -> None:
        self.answering, self.asked = answering, 0

    @property
    def identity(self) -> dict[str, str]:
        return {"kind": "mine"}

    def most_usd(self, request: ContinuationRequest) -> float:
        return 1.0

    def continue_from(self, requests, on_result=None):
        self.asked += len(requests)
        return self.answering(requests, on_result or (lambda index, answer: None))


def right(asked: ContinuationRequest, **more: Any) -> Continuations:
    draws = range(asked.first_sample, asked.first_sample + asked.samples)
    return Continuations(tuple(f"{asked.prefix}{n}" for n in draws), usage=Usage(calls=1, cost_usd=0.5), **more)


def unchecked(texts: Any) -> Continuations:
    """Types are checked under test only: elsewhere anything can stand there."""
    answer = Continuations(())
    object.__setattr__(answer, "texts", texts)
    return answer


def telling(make: Callable[[int, ContinuationRequest], Any]) -> Answering:
    def answering(requests, on_result):
        answers = [make(index, asked) for index, asked in enumerate(requests)]
        for index, answer in enumerate(answers):
            on_result(index, answer)
        return answers

    return answering


def returning(change: Callable[[list[Continuations]], Any]) -> Answering:
    """Tells the right answers, and returns others."""

    def answering(requests, on_result):
        return change(telling(lambda index, asked: right(asked))(requests, on_result))

    return answering


def told_of_a_stranger(requests, on_result):
    on_result(99, right(requests[0]))
    return [right(asked) for asked in requests]


def told_twice(requests, on_result):
    answers = telling(lambda index, asked: right(asked))(requests, on_result)
    on_result(0, answers[0])
    return answers


WRONG: dict[str, tuple[Answering, str]] = {
    "none": (returning(lambda answers: []), "returned 0 answers to 3 requests"),
    "short": (returning(lambda answers: answers[:2]), "returned 2 answers to 3 requests"),
    "long": (returning(lambda answers: [*answers, answers[0]]), "returned 4 answers to 3 requests"),
    "no list": (returning(lambda answers: None), "returned a NoneType"),
    "a generator": (returning(lambda answers: (a for a in answers)), "returned a generator"),
    "backwards": (returning(lambda answers: answers[::-1]), "order of the requests"),
    "a hole": (telling(lambda index, asked: right(asked) if index else None), "answered request 0 with nothing"),
    "texts alone": (telling(lambda index, asked: ["a", "b"]), "answered request 0 with a list"),
    "a string for texts": (telling(lambda index, asked: unchecked("ab")), "no tuple of strings"),
    "bytes": (telling(lambda index, asked: unchecked((b"a", b"b"))), "no tuple of strings"),
    "null": (telling(lambda index, asked: unchecked(("a", None))), "no tuple of strings"),
    "too many texts": (telling(lambda index, asked: Continuations(("a",) * 3)), "3 texts where 2 were asked for"),
    "too few marks": (telling(lambda index, asked: right(asked, stopped=(True,))), "2 texts of which 1 say"),
    "told of a stranger": (told_of_a_stranger, "told on_result of request 99"),
    "told twice": (told_twice, "told on_result of request 0"),
}  # fmt: skip
STACKS: dict[str, Callable[[Teacher, Path], Teacher]] = {
    "bare": lambda teacher, folder: teacher,
    "cached": lambda teacher, folder: CachedTeacher(teacher, folder / "a.sqlite"),
    "budgeted": lambda teacher, folder: BudgetedTeacher(teacher, 9.0, folder / "l.jsonl"),
    "budgeted cached": lambda teacher, folder: BudgetedTeacher(CachedTeacher(teacher, folder / "a.sqlite"), 9.0),
    "cached budgeted": lambda teacher, folder: CachedTeacher(BudgetedTeacher(teacher, 9.0), folder / "a.sqlite"),
}


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize(("answering", "words"), WRONG.values(), ids=WRONG)
def test_a_teacher_that_answers_wrongly_is_named(answering: Answering, words: str, stack, tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=rf"the teacher Mine \('mine-7b'\) .*{words}"):
        ask(stack(Mine(answering), tmp_path), ASKED)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_one_that_answers_rightly_is_heard_in_any_order(stack, tmp_path: Path) -> None:
    def backwards(requests, on_result):
        answers = [right(asked) for asked in requests]
        for index in reversed(range(len(requests))):
            on_result(index, answers[index])
        return tuple(answers)

    heard: list[int] = []
    answers = ask(stack(Mine(backwards), tmp_path), ASKED, lambda index, answer: heard.append(index))
    assert [a.texts for a in answers] == [("a0", "a1"), ("b0", "b1"), ("c0", "c1")]
    assert sorted(heard) == [0, 1, 2]


def silent(requests, on_result):
    return [right(asked) for asked in requests]


@pytest.mark.parametrize("name", [name for name in STACKS if name != "bare"])
def test_one_that_ignores_on_result_is_named_by_its_wrappers_and_what_it_was_paid_for_is_kept(
    name: str, tmp_path: Path
) -> None:
    stack, teacher = STACKS[name], Mine(silent)
    with pytest.raises(TeacherError, match=r"the teacher Mine \('mine-7b'\) returned 3 answers and told .* of 0: it"):
        stack(teacher, tmp_path).continue_from(ASKED)
    if "cached" in name:
        again = stack(teacher, tmp_path).continue_from(ASKED)
        assert (teacher.asked, [a.texts[0] for a in again], {a.cached for a in again}) == (
            3,
            ["a0", "b0", "c0"],
            {True},
        )


def test_one_that_ignores_on_result_works_alone_and_its_listener_hears_of_all() -> None:
    heard: list[int] = []
    answers = ask(Mine(silent), ASKED, lambda index, answer: heard.append(index))
    assert ([a.texts for a in answers], heard) == ([("a0", "a1"), ("b0", "b1"), ("c0", "c1")], [0, 1, 2])


def test_an_audit_names_the_teacher_too() -> None:
    with pytest.raises(TeacherError, match=r"the teacher Mine .* returned 0 answers to 1 requests"):
        audit([rollout(("a", " b", " c"))], [[Fork(1, 3, 1.0)]], Mine(lambda *asked: []), edit_similarity, 2)


@pytest.mark.parametrize("name", [name for name in STACKS if "cached" in name])
def test_half_of_a_surrogate_pair_is_never_kept_and_leaves_its_request_without_that_text(
    name: str, tmp_path: Path
) -> None:
    def halves(index: int, asked: ContinuationRequest) -> Continuations:
        return Continuations(("\ud83d",) * asked.samples) if asked.prefix == "b" else right(asked)

    for _ in range(2):  # as asked, and as a resume finds it
        answers = ask(STACKS[name](Mine(telling(halves)), tmp_path), ASKED)
        assert [(a.problem or "").count("half of a") for a in answers] == [0, 1, 0]
        assert [a.texts for a in answers] == [("a0", "a1"), (), ("c0", "c1")]
