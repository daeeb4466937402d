"""Looking at one answer: the functions of a training step, a teacher that is asked once, settings that cost nothing."""

from __future__ import annotations

from typing import Any

import pytest

from omniopd.errors import ConfigError, TeacherError
from omniopd.pipeline.build import LocalModel
from omniopd.pipeline.session import Session
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.types import ContinuationRequest, Continuations
from tests.builders import tiny_model, tiny_tokenizer
from tests.small_runs import small_recipe

STUDENT = LocalModel("tiny", tiny_model(context=512), tiny_tokenizer())


def numbered(request: ContinuationRequest) -> list[str]:
    return [f"a{n} b c d" for n in range(request.first_sample, request.first_sample + request.samples)]


def exploration(teacher=None, **settings) -> Session:
    recipe = small_recipe(student__max_tokens=24, audit__samples=3, **settings)
    made = Session(recipe, STUDENT, teacher or ScriptedTeacher(numbered))
    made.answer(made.problems(1)[0], seed=1)
    return made


def test_an_answer_is_a_record_and_the_same_seed_writes_it_again() -> None:
    explore = exploration()
    first = explore.record()
    again = explore.answer(explore.problems(1)[0], seed=1)
    other = explore.answer(explore.problems(1)[0], seed=2)
    assert first == again
    assert other.pieces != first.pieces
    assert len(first.pieces) == len(first.entropies)


def test_an_answer_is_graded_where_there_is_an_answer_to_compare_with() -> None:
    explore = exploration()
    assert explore.record().right is False  # a random student's
    assert explore.answer("one of my own", seed=1).right is None


def test_the_second_look_asks_nobody() -> None:
    explore = exploration()
    fork = explore.forks()[0]
    first = explore.ask([fork])
    asked = len(explore.teacher.requests)
    assert asked == 1
    assert explore.ask([fork]) == first
    assert len(explore.teacher.requests) == asked


def test_other_similarities_targets_and_fewer_texts_ask_nobody() -> None:
    explore = exploration()
    before = explore.ask(explore.forks()).audits
    asked = len(explore.teacher.requests)
    explore.with_settings(**{"audit.similarity": "characters", "objective.target": "paper", "audit.samples": 2})
    after = explore.ask(explore.forks()).audits
    assert len(explore.teacher.requests) == asked
    assert [len(a.texts) for a in before] != [len(a.texts) for a in after] == [2] * len(after)
    assert all(a.weights for a in after)


def test_more_texts_than_at_hand_are_asked_for() -> None:
    explore = exploration()
    fork = explore.forks()[0]
    explore.ask([fork])
    explore.with_settings(**{"audit.samples": 5})
    [found] = explore.ask([fork]).audits
    assert len(found.texts) == 5


def test_audits_of_another_chunk_length_are_kept_aside_until_it_is_chosen_again() -> None:
    explore = exploration()
    before = explore.ask(explore.forks()).audits
    asked = len(explore.teacher.requests)
    explore.with_settings(**{"audit.chunk_tokens": 3})
    assert explore.record().audits == ()
    [longer] = explore.ask([explore.fork_at(4)]).audits
    assert longer.stop - longer.start == 3
    explore.with_settings(**{"audit.chunk_tokens": 2})
    assert explore.ask(explore.forks()).audits == before
    assert len(explore.teacher.requests) == asked + 1


def test_a_price_is_known_before_anybody_is_asked_and_nothing_once_the_texts_are_at_hand() -> None:
    explore = exploration(teacher__model="anthropic/claude-haiku-4-5")
    forks = explore.forks()
    price = explore.price(forks)
    assert price.is_paid
    assert price.usd > 0
    assert explore.teacher.requests == []
    assert str(price).startswith(f"≈ {price.input_tokens:,} teacher tokens read + ")
    explore.ask(forks)
    assert explore.price(forks).is_free
    unknown = exploration(teacher__model="openai/nobody-knows-it")
    assert "an unknown price" in str(unknown.price(unknown.forks()))


def test_of_overlapping_chunks_the_one_looked_at_last_is_shown() -> None:
    explore = exploration()
    for start in (4, 5, 4):
        record = explore.ask([explore.fork_at(start)])
        assert [a.start for a in record.audits] == [start]
    assert [r.prefix for r in explore.teacher.requests] == [
        "".join(record.pieces[:4]), "".join(record.pieces[:5])
    ]  # fmt: skip


def test_a_place_without_an_answer_is_an_error_and_is_kept_as_one() -> None:
    class Silent:
        def continue_from(self, requests, on_result=None):
            return [Continuations((), problem="refusal") for _ in requests]

    explore = exploration(Silent())
    fork = explore.fork_at(3)
    with pytest.raises(TeacherError, match=r"no answer at token 3: refusal; `omniopd teacher check`"):
        explore.ask([fork])
    assert explore.record().unanswered == ((3, "refusal"),)


def test_a_token_outside_the_answer_and_a_missing_answer_are_named() -> None:
    explore = exploration()
    with pytest.raises(ConfigError, match=r"token 99 lies outside an answer of \d+ tokens"):
        explore.fork_at(99)
    with pytest.raises(ConfigError, match="have the student answer a problem first"):
        Session(small_recipe(), STUDENT, ScriptedTeacher(numbered)).forks()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("evaluation.before", True), ("evaluation.before", False), ("seed", 7), ("objective.anchor_weight", 1),
        ("objective.anchor_weight", 0.25), ("task.path", "1"), ("task.path", "true"), ("task.path", ""),
        ("student.temperature", 1), ("evaluation.temperatures", [0.0, 0.5]), ("evaluation.temperatures", []),
        ("task.path", 'a "b" = c'), ("method", "omniopd"),
    ],
)  # fmt: skip
def test_settings_keep_their_types(name: str, value: Any) -> None:
    explore = exploration()
    explore.with_settings(**{name: value})
    part: Any = explore.recipe
    for step in name.split("."):
        part = getattr(part, step)
    assert part == (tuple(value) if isinstance(value, list) else value)
    assert type(part) in (type(value), tuple, float)


@pytest.mark.parametrize("value", [None, "1", True, [4], 1.5])
def test_a_setting_of_another_type_is_refused_and_changes_nothing(value: Any) -> None:
    explore = exploration()
    before = explore.recipe
    with pytest.raises(ConfigError, match=r"audit\.samples"):
        explore.with_settings(**{"audit.samples": value})
    assert explore.recipe is before
