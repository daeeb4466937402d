"""Looking at one answer under a scan: the runs of a training step, a price that is a guess, texts asked for once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from omniopd.auditing import audit_as_set, evidence, made_of
from omniopd.errors import TeacherError
from omniopd.method.tensors import exact_similarity, fork_targets
from omniopd.pipeline.build import LocalModel
from omniopd.pipeline.session import Session
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.recording import rollout_records
from omniopd.types import ContinuationRequest, Continuations
from tests.builders import tiny_model, tiny_tokenizer
from tests.small_runs import small_recipe

STUDENT = LocalModel("tiny", tiny_model(context=512), tiny_tokenizer())


def some_letters(request: ContinuationRequest) -> list[str]:
    """The draft for a few letters, and then another one: more of them in later draws."""
    if request.draft is None:
        return ["a text"] * request.samples
    ends = [3 + 2 * draw for draw in range(request.first_sample, request.first_sample + request.samples)]
    return [request.draft[:end] + ("%" if request.draft[end : end + 1] == "#" else "#") for end in ends]


def exploration(teacher=None, **settings) -> Session:
    wanted = {
        "student__max_tokens": 24, "audit__way": "scan", "audit__forks": 0, "audit__chunk_tokens": 24,
        "audit__samples": 2, "objective__target": "posterior_kl", "objective__concentration": 0.3,
    }  # fmt: skip
    recipe = small_recipe(**wanted | settings)
    made = Session(recipe, STUDENT, teacher or ScriptedTeacher(some_letters))
    made.answer(made.problems(1)[0], seed=1)
    return made


def labelled(record) -> list[int]:
    return [place for a in record.audits for place in range(a.start, a.stop)]


def test_it_shows_what_a_training_step_would_record_at_one_forward() -> None:
    teacher = LocalTeacher(tiny_model(1, context=512), tiny_tokenizer())
    explore = exploration(teacher)
    record = explore.ask_everywhere(seed=3)
    recipe, rollout = explore.recipe, explore.rollout
    [audited] = audit_as_set(
        recipe.audit, [rollout], teacher, STUDENT.tokenizer, torch.Generator(), 3, exact_similarity
    )
    targets = made_of([audited], fork_targets(evidence([audited]), "posterior_kl", "none", 0.3, 1))
    [made] = rollout_records(0, {0: (audited, targets)}, {}, 0.3, STUDENT.tokenizer)
    assert record == replace(made, right=False)  # what a random student writes
    assert all(a.run and len(a.labels) == a.stop - a.start for a in record.audits)
    assert len(set(labelled(record))) == len(labelled(record)) > 2


def test_the_second_look_asks_nobody_and_more_draws_ask_for_the_rest() -> None:
    explore = exploration()
    first = explore.ask_everywhere()
    asked = len(explore.teacher.requests)
    assert asked > 2
    assert all(r.draft for r in explore.teacher.requests)
    assert explore.price_everywhere().is_free
    assert explore.ask_everywhere() == first
    assert len(explore.teacher.requests) == asked
    explore.with_settings(**{"audit.samples": 1})
    assert explore.record().audits == ()
    assert explore.price_everywhere().is_free
    assert {len(a.texts) for a in explore.ask_everywhere().audits} == {1}
    explore.with_settings(**{"audit.samples": 3})
    assert {len(a.texts) for a in explore.ask_everywhere().audits} == {3}
    assert {r.first_sample for r in explore.teacher.requests[asked:]} == {2}


def test_another_seed_is_other_draws_and_each_is_asked_for_once() -> None:
    explore = exploration(LocalTeacher(tiny_model(1, context=512), tiny_tokenizer()))
    first, second = (explore.ask_everywhere(seed) for seed in (0, 1))
    other = exploration(LocalTeacher(tiny_model(1, context=512), tiny_tokenizer()))
    assert (second, first) == (other.ask_everywhere(1), other.ask_everywhere(0))
    assert first != second
    assert explore.record() == second
    assert explore.price_everywhere(0).is_free
    assert not explore.price_everywhere(2).is_free
    assert explore.ask_everywhere(0) == first == explore.record()


def test_its_price_is_a_guess_that_shrinks_to_nothing() -> None:
    explore = exploration(teacher__model="anthropic/claude-haiku-4-5")
    whole = explore.price_everywhere()
    assert whole.is_paid
    assert str(whole).startswith("a guess: about ")
    assert explore.teacher.requests == []
    few = explore.price_with(audit__forks=1)
    assert (few.texts, few.guess) == (2, True)
    assert whole.texts > few.texts
    explore.ask_everywhere()
    assert str(explore.price_everywhere()) == "already asked"
    one_more = explore.price_with(audit__samples=3)
    assert 0 < one_more.input_tokens < whole.input_tokens


def test_the_price_counts_what_the_teacher_sees_more() -> None:
    paid = {"teacher__model": "anthropic/claude-haiku-4-5"}
    plain, more = exploration(**paid), exploration(**paid, teacher__sees="{question}" + " the cat" * 50)
    less, whole = (one.price_everywhere() for one in (plain, more))
    longer = len(STUDENT.tokenizer(" the cat" * 50).input_ids)
    assert whole.calls == less.calls
    assert whole.input_tokens - less.input_tokens == pytest.approx(whole.calls * longer, abs=2 * whole.calls)


def test_another_price_is_said_at_once() -> None:
    explore = exploration(teacher__model="anthropic/claude-haiku-4-5")
    costs = {"teacher.usd_per_million_input": 1.0, "teacher.usd_per_million_output": 5.0}
    explore.with_settings(**costs)
    cheap = explore.price_everywhere()
    dear = {name: 10 * usd for name, usd in costs.items()}
    assert explore.price_with(**dear).usd == pytest.approx(10 * cheap.usd)
    explore.with_settings(**dear)
    assert explore.price_everywhere().usd == pytest.approx(10 * cheap.usd)
    assert explore.price_everywhere().input_tokens == cheap.input_tokens


def test_a_token_that_is_asked_about_afterwards_is_a_fork_among_the_runs() -> None:
    explore = exploration(audit__chunk_tokens=4)
    runs = explore.ask_everywhere().audits
    asked = len(explore.teacher.requests)
    fork = explore.fork_at(9)
    teacher_text = ScriptedTeacher([" a text of its own"] * 2)
    explore.teacher._script = teacher_text._script
    record = explore.ask([fork])
    [own] = [a for a in record.audits if not a.run]
    assert (own.start, own.stop) == (9, 13)
    assert explore.teacher.requests[-1].draft is None
    assert len(explore.teacher.requests) == asked + 1
    assert [a for a in record.audits if a.run] == [a for a in runs if a.stop <= 9 or a.start >= 13]
    assert explore.ask_everywhere().audits == runs
    assert len(explore.teacher.requests) == asked + 1
    explore.with_settings(**{"audit.way": "chunks", "audit.forks": 2})
    assert [a.start for a in explore.record().audits] == [9]


def test_a_scan_that_breaks_keeps_its_labels_and_goes_on_from_there() -> None:
    fails = True

    def breaking(request: ContinuationRequest) -> list[str] | Continuations:
        if fails and len(request.prefix_ids or ()) > 5:
            return Continuations((), problem="rate limit")
        return some_letters(request)

    explore = exploration(ScriptedTeacher(breaking))
    part = explore.ask_everywhere()
    assert 0 < len(labelled(part)) < len(part.pieces)
    assert {problem for _, problem in part.unanswered} == {"rate limit"}
    assert not explore.price_everywhere().is_free
    fails, asked = False, len(explore.teacher.requests)
    whole = explore.ask_everywhere()
    assert labelled(whole) == labelled(exploration().ask_everywhere())
    assert whole.unanswered == ()
    assert all(len(r.prefix_ids or ()) > 5 for r in explore.teacher.requests[asked:])


def test_a_teacher_that_says_nothing_is_an_error() -> None:
    explore = exploration(ScriptedTeacher(lambda request: Continuations((), problem="refusal")))
    with pytest.raises(TeacherError, match=r"no answer at token 0: refusal; `omniopd teacher check`"):
        explore.ask_everywhere()
    assert explore.record().unanswered[0] == (0, "refusal")


def test_forks_are_planned_for_chunks_only() -> None:
    explore = exploration()
    assert explore.forks() == []
    explore.with_settings(**{"audit.way": "chunks", "audit.forks": 2, "audit.chunk_tokens": 2})
    assert len(explore.forks()) == 2
    assert explore.ask_everywhere() == replace(explore.record())
