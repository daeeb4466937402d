"""What the workbench says that a press would take is what a real server is then asked for, to the call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from omniopd.costs.request import CostEstimate, inside
from omniopd.errors import ConfigError, TeacherError
from omniopd.pipeline.build import LocalModel
from omniopd.pipeline.session import Session
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.model_traits import ModelTraits
from omniopd.teachers.spending.prices import per_million
from tests.builders import request, tiny_model, tiny_tokenizer
from tests.small_runs import small_recipe
from tests.teachers.faulty_server import Served
from tests.teachers.test_hosted import hosted

STUDENT = LocalModel("tiny", tiny_model(context=512), tiny_tokenizer())


@pytest.fixture(autouse=True, scope="module")
def _loaded() -> None:
    """Half of litellm comes with a process's first call."""
    with Served() as server:
        hosted(server).continue_from([request("a", 1)])


@pytest.fixture
def server() -> Iterator[Served]:
    with Served() as server:
        yield server


def exploration(server: Served, teacher: Any = None, **settings: Any) -> Session:
    recipe = small_recipe(student__max_tokens=24, audit__samples=8, audit__forks=2, **settings)
    made = Session(recipe, STUDENT, teacher)
    made.answer(made.problems(1)[0], seed=1)
    return made


def by_recipe(server: Served, **settings: Any) -> Session:
    return exploration(
        server,
        teacher__model="hosted_vllm/m",
        teacher__api_base=server.url,
        teacher__handover="instruction",
        teacher__usd_per_million_input=1.0,
        teacher__usd_per_million_output=5.0,
        **settings,
    )


def one_by_one(server: Served, **settings: Any) -> HostedTeacher:
    return hosted(server, traits=ModelTraits("hosted_vllm/m", "instruction"), price=per_million(1, 5), **settings)


def pressed(explore: Session, server: Served) -> CostEstimate:
    """Asks at all forks, and holds the server's count against what was quoted."""
    quoted = explore.price(explore.forks())
    before = len(server.seen)
    record = explore.ask(explore.forks())
    bought = server.seen[before:]
    assert (quoted.calls, quoted.texts) == (len(bought), sum(seen.samples for seen in bought))
    draws = [
        (seen.question, *map(seen.body.get, ("model", "temperature", "max_tokens")), (seen.seed or 0) + n)
        for seen in server.seen
        for n in range(seen.samples)
    ]
    assert len(set(draws)) == len(draws), "a draw was bought twice"
    assert all(len(audit.texts) == explore.recipe.audit.samples for audit in record.audits)
    assert explore.price(explore.forks()).is_free
    return quoted


def test_eight_texts_become_ten_for_two_more_a_fork(server: Served) -> None:
    explore = exploration(server, one_by_one(server))
    assert pressed(explore, server).texts == 2 * 8
    explore.with_settings(**{"audit.samples": 10})
    quoted = pressed(explore, server)
    assert (quoted.texts, quoted.forks) == (2 * 2, 2)
    # By hand: a call reads the prompt, the prefix and the instruction, and writes a chunk at most.
    rollout = explore.rollout
    assert rollout is not None
    read = sum(2 * (len(rollout.prompt_ids) + fork.start + 120) for fork in explore.forks())
    assert (quoted.input_tokens, quoted.output_tokens) == (read, 4 * explore.recipe.audit.chunk_tokens)
    assert quoted.usd == pytest.approx((read + 5 * quoted.output_tokens) / 1e6)


def test_whatever_is_changed_is_quoted_as_it_is_bought(server: Served) -> None:
    explore = by_recipe(server)
    other = explore.problems(2)[1]
    first = explore.problems(1)[0]
    changes: list[tuple[Any, Any]] = [
        ({}, 16), ({"audit.samples": 4}, 0), ({"audit.samples": 8}, 0), ({"audit.samples": 9}, 2),
        ({"audit.forks": 4}, None), ({"audit.forks": 1}, 0), ({"audit.forks": 4}, 0),
        ({"audit.chunk_tokens": 3}, None), ({"audit.chunk_tokens": 2}, 0),
        ({"audit.similarity": "exact", "objective.target": "paper"}, 0),
        ({"teacher.temperature": 0.5}, 4 * 9), ({"teacher.temperature": 1.0}, 0),
        ({"teacher.model": "hosted_vllm/other"}, 4 * 9), ({"teacher.model": "hosted_vllm/m"}, 0),
        (other, 4 * 9), (first, 0), ((first, 2, 0.3), None), (first, 0),
    ]  # fmt: skip
    for change, texts in changes:
        if isinstance(change, dict):
            quoted = explore.price_with(**change) if not any("teacher" in name for name in change) else None
            explore.with_settings(**change)
        else:
            quoted = None
            explore.answer(*(change if isinstance(change, tuple) else (change, 1)))
        shown = pressed(explore, server)
        assert quoted in (None, shown), change
        assert texts in (None, shown.texts), change
        assert texts is not None or shown.texts > 0, change


def test_several_texts_a_call_read_the_prefix_once(server: Served) -> None:
    several = hosted(
        server, traits=ModelTraits("hosted_vllm/m", "instruction", most_samples=3), price=per_million(1, 5)
    )
    explore = exploration(server, several)
    assert (quoted := pressed(explore, server)).calls == 2 * 3
    explore.with_settings(audit__samples=12)
    more = pressed(explore, server)
    assert (more.calls, more.texts, more.input_tokens * 3) == (2 * 2, 8, quoted.input_tokens * 2)


def test_what_a_refused_call_left_open_is_quoted_alone(server: Served) -> None:
    server.faults = lambda number, body: "400" if number in (3, 9) else None
    explore = exploration(server, one_by_one(server, concurrency=1))
    with pytest.raises(TeacherError, match="no answer at token"):
        explore.ask(explore.forks())
    server.faults = None
    bought = sum(seen.fault is None for seen in server.seen)
    assert bought > 0
    quoted, before = explore.price(explore.forks()), len(server.seen)
    explore.ask(explore.forks())
    assert quoted.texts == len(server.seen) - before == 16 - bought


def test_a_recipes_own_cache_and_budget_hold_in_an_exploration(server: Served, tmp_path) -> None:
    settings = {"teacher__cache": str(tmp_path / "a.sqlite"), "teacher__budget_usd": 1.0}
    assert pressed(by_recipe(server, **settings), server).texts == 16
    assert pressed(by_recipe(server, **settings), server).texts == 0


def test_a_price_that_is_corrected_is_what_is_shown_and_what_is_paid_from_then_on(server: Served) -> None:
    explore = by_recipe(server, teacher__budget_usd=10.0)
    before = explore.price(explore.forks()).usd
    explore.with_settings(teacher__usd_per_million_input=10.0, teacher__usd_per_million_output=50.0)
    quoted = explore.price(explore.forks()).usd
    assert quoted == pytest.approx(10 * before)
    teacher = inside(explore.teacher, HostedTeacher)
    assert teacher is not None
    assert teacher.price == per_million(10, 50)  # by which the budget is held


def test_a_teacher_that_was_given_and_a_student_that_is_loaded_are_not_exchanged(server: Served) -> None:
    explore = exploration(server, hosted(server))
    before = explore.recipe
    for name, value in (("teacher.model", "openai/gpt-5"), ("teacher.temperature", 0.5), ("student.model", "other")):
        with pytest.raises(ConfigError, match=name):
            explore.with_settings(**{name: value})
    assert explore.recipe is before
    explore.with_settings(**{"teacher.usd_per_million_input": 2.0})
