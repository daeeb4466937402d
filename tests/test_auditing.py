"""Facts about asking a teacher about forks: what it is shown, what its answers become, and what a failure is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from omniopd.auditing import audit, evidence, similarity_named
from omniopd.errors import ConfigError
from omniopd.method.forks import SPARE_TOKENS
from omniopd.method.similarity import without_model
from omniopd.method.tensors import edit_similarity, exact_similarity
from omniopd.models.text.token_text import pieces
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.types import (
    Audit,
    AuditedRollout,
    ContinuationRequest,
    Continuations,
    Teacher,
)
from tests.audits import ABC, chunk, numbered, tokenized
from tests.builders import prompt, rollout, tiny_tokenizer


class Calls:
    """Around a teacher: the requests of each call."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self.calls: list[list[ContinuationRequest]] = []

    def continue_from(
        self,
        requests: Sequence[ContinuationRequest],
        on_result: Callable[[int, Continuations], None] | None = None,
    ) -> list[Continuations]:
        self.calls.append(list(requests))
        return self.teacher.continue_from(requests, on_result)


# ── what the teacher is asked ────────────────────────────────────────────────────────────────────────────────────────


def test_all_forks_of_all_rollouts_are_one_call_prefixes_ascending():
    teacher = Calls(ScriptedTeacher(numbered))
    rollouts = [rollout(ABC), rollout("xyz"), rollout("uvwxyz")]
    forks = [[chunk(4), chunk(0), chunk(2)], [], [chunk(3)]]
    audited = audit(rollouts, forks, teacher, edit_similarity, samples=3)
    [asked] = teacher.calls
    assert [r.prefix for r in asked] == ["", "ab", "abcd", "uvw"]
    assert [[a.fork.start for a in item.audits] for item in audited] == [[0, 2, 4], [], [3]]
    assert [r.samples for r in asked] == [3] * 4


def test_the_teacher_never_sees_an_audited_token():
    """Its prefix is the text before the fork, whatever stands in the chunk or after it."""
    seen = []
    for ending in ("cdef", "CDEF", "🙂🙂🙂🙂"):
        teacher = ScriptedTeacher(numbered)
        audit([rollout(("a", "b", *ending))], [[chunk(2)]], teacher, edit_similarity, samples=2)
        [request] = teacher.requests
        seen.append((request.prompt, request.prefix, request.seed))
    assert seen == [(prompt(), "ab", seen[0][2])] * 3


def test_nobody_is_asked_where_there_is_no_fork():
    teacher = ScriptedTeacher(numbered)
    [item] = audit([rollout(ABC)], [[]], teacher, edit_similarity)
    assert teacher.requests == []
    assert (item.audits, item.unanswered) == ((), ())


def test_max_tokens_allows_for_a_teacher_that_needs_more_tokens_for_the_same_text():
    teacher = ScriptedTeacher(numbered)
    audit([rollout(ABC)], [[chunk(0, 5)]], teacher, edit_similarity, tokens_per_student_token=1.3)
    assert teacher.requests[0].max_tokens == 7 + SPARE_TOKENS
    audit([rollout(ABC)], [[chunk(0, 5)]], teacher, edit_similarity)
    assert teacher.requests[1].max_tokens == 5


def test_rollouts_of_one_prompt_do_not_share_draws_and_a_seed_gives_the_same_ones_again():
    def seeds(seed: int) -> list[int]:
        teacher = ScriptedTeacher(numbered)
        audit([rollout(ABC), rollout(ABC)], [[chunk(0), chunk(2)]] * 2, teacher, edit_similarity, seed=seed)
        return [r.seed for r in teacher.requests]

    assert len({*seeds(1), *seeds(2)}) == 8
    assert seeds(1) == seeds(1)


def test_a_rollout_audited_alone_under_its_row_gets_the_draws_of_its_batch():
    calls = Calls(ScriptedTeacher(numbered))
    rows, forks = [rollout(pieces=ABC), rollout(pieces=ABC)], [[chunk(1)], [chunk(2), chunk(4)]]
    audit(rows, forks, calls, edit_similarity, 2, seed=5)
    audit(rows[1:], forks[1:], calls, edit_similarity, 2, seed=5, first_row=1)
    assert [r.seed for r in calls.calls[1]] == [r.seed for r in calls.calls[0][1:]]


def test_each_answer_is_announced_as_it_comes():
    heard: list[tuple[int, int]] = []
    audit([rollout(ABC)], [[chunk(0), chunk(2)]], ScriptedTeacher(numbered), edit_similarity, 3,
          on_result=lambda index, answer: heard.append((index, len(answer.texts))))  # fmt: skip
    assert heard == [(0, 3), (1, 3)]


# ── what an answer becomes ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_chunk_is_compared_with_every_text_and_the_similarities_add_up():
    [item] = audit(
        [rollout(ABC)], [[chunk(2)]], ScriptedTeacher(lambda _: ["cd", "cx", "xy", "cd"]), edit_similarity, samples=4
    )
    [found] = item.audits
    assert (found.chunk, found.chunk_ids) == ("cd", (12, 13))
    assert found.similarities.tolist() == [1, 0.5, 0, 1]
    assert (found.soft_count, found.samples) == (2.5, 4)


def test_without_a_tokenizer_texts_are_compared_as_they_come():
    [item] = audit([rollout(ABC)], [[chunk(0)]], ScriptedTeacher(lambda _: ["a long text"]), edit_similarity, samples=1)
    assert item.audits[0].texts == ("a long text",)
    assert item.audits[0].continuation_ids == (None,)


def test_with_a_tokenizer_texts_are_cut_to_as_many_student_tokens_as_the_chunk():
    tokenizer = tiny_tokenizer()
    student = tokenized("the cat sat on the mat")
    start = student.pieces.index(" sat")
    texts = [" sat on the mat and the dog ran", " sat", " 🙂"]
    [item] = audit(
        [student], [[chunk(start, 3)]], ScriptedTeacher(lambda _: texts), edit_similarity, 3, tokenizer=tokenizer
    )
    [found] = item.audits
    encoded = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    assert found.continuation_ids == tuple(tuple(ids[:3]) for ids in encoded)
    assert found.texts[:2] == (tokenizer.decode(encoded[0][:3]), " sat")
    assert found.texts[2].strip(" ") == ""  # three tokens end inside the smiley, which is left out
    assert found.chunk_ids == tuple(student.token_ids[start : start + 3].tolist())
    assert found.similarities[0] == 1


def test_a_text_that_ended_by_itself_closes_with_the_end_of_turn_where_there_is_room():
    tokenizer = tiny_tokenizer()
    student = tokenized("the cat sat on the mat")
    answer = Continuations((" dog", " dog", " dog ran to"), stopped=(True, False, True))
    [item] = audit(
        [student], [[chunk(1, 2)]], ScriptedTeacher(lambda _: answer), exact_similarity, 3, tokenizer=tokenizer
    )
    [dog, *_], [_, ran, *_] = ([*tokenizer(t, add_special_tokens=False).input_ids] for t in (" dog", " dog ran"))
    assert item.audits[0].continuation_ids == ((dog, tokenizer.eos_token_id), (dog,), (dog, ran))


def test_half_a_word_of_a_teacher_with_another_tokenizer_is_no_token_of_the_students():
    tokenizer = tiny_tokenizer()
    student = tokenized("the cat sat on the mat")
    answer = Continuations((" do", " dog ra", " dog ran to", " do"), stopped=(False, False, False, True))
    words = (" do", " ra", " dog", " ran")
    do, half, dog, ran = (tuple(tokenizer(word, add_special_tokens=False).input_ids) for word in words)
    assert ran != half  # "ran" is not made of what "ra" is

    def heard(ratio: float) -> Audit:
        teacher = ScriptedTeacher(lambda _: answer)
        [item] = audit(
            [student], [[chunk(1, 2)]], teacher, exact_similarity, 4, tokenizer=tokenizer,
            tokens_per_student_token=ratio,
        )  # fmt: skip
        return item.audits[0]

    ended = (*do, tokenizer.eos_token_id)
    assert heard(1.0).continuation_ids == (do, (dog + half)[:2], dog + ran, ended)
    assert heard(1.3).continuation_ids == ((), dog, dog + ran, ended)
    assert heard(1.3).texts == heard(1.0).texts


def test_a_text_that_changes_the_tokens_of_its_prefix_has_no_ids_and_is_still_compared():
    """ " c" + "at" is one token of its own: the student would not have continued so (no label may say it did)."""
    tokenizer = tiny_tokenizer()
    ids = [token for text in ("the", " c", "at") for token in tokenizer(text, add_special_tokens=False).input_ids]
    student = replace(tokenized("the"), token_ids=torch.tensor(ids), pieces=pieces(tokenizer, ids),
                      logprobs=torch.zeros(len(ids)), entropies=torch.zeros(len(ids)))  # fmt: skip
    start = student.pieces.index("at")
    teacher = ScriptedTeacher(["at", " dog"])
    [item] = audit([student], [[chunk(start, 1)]], teacher, edit_similarity, 2, tokenizer=tokenizer)
    [found] = item.audits
    assert found.continuation_ids[0] is None
    assert found.continuation_ids[1] is not None
    assert (found.texts[0], float(found.similarities[0])) == ("at", 1)


def test_the_click_gives_what_the_step_gave():
    rollouts = [tokenized("the cat sat on the mat", 0), tokenized("2 plus 3 is 5, so the answer is 5", 1)]
    forks = [[chunk(1), chunk(3)], [chunk(0), chunk(2), chunk(6)]]
    settings = {"samples": 3, "similarity": edit_similarity, "tokenizer": tiny_tokenizer()}
    step = audit(rollouts, forks, ScriptedTeacher(numbered), **settings)
    for row, student in enumerate(rollouts):
        for index, fork in enumerate(forks[row]):
            [click] = audit([student], [[fork]], ScriptedTeacher(numbered), **settings)
            [one], many = click.audits, step[row].audits[index]
            assert (one.texts, one.continuation_ids, one.chunk) == (many.texts, many.continuation_ids, many.chunk)
            assert torch.equal(one.similarities, many.similarities)
            assert evidence([click])[0].prior == evidence(step)[sum(map(len, forks[:row])) + index].prior


def test_forks_that_do_not_belong_to_the_rollouts_are_the_callers_mistake():
    with pytest.raises(ValueError, match=r"\[5, 7\) lies outside a rollout of 6 tokens"):
        audit([rollout(ABC)], [[chunk(5)]], ScriptedTeacher(numbered), edit_similarity)
    with pytest.raises(ValueError, match="1 rollouts but forks for 2"):
        audit([rollout(ABC)], [[], []], ScriptedTeacher(numbered), edit_similarity)


# ── evidence ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_evidence_is_in_the_order_of_rollouts_and_forks_with_the_chunks_geometric_mean_as_prior():
    logprobs = [math.log(p) for p in (0.5, 0.2, 0.9, 0.1, 1.0, 0.4)]
    rollouts = [rollout(ABC, logprobs=logprobs), rollout(ABC), rollout(ABC, logprobs=logprobs)]
    audited = audit(
        rollouts, [[chunk(0), chunk(2)], [], [chunk(4)]], ScriptedTeacher(numbered), edit_similarity, samples=2
    )
    found = evidence(audited)
    assert [e.rollout for e in found] == [0, 0, 2]
    expected = [math.sqrt(0.5 * 0.2), math.sqrt(0.9 * 0.1), math.sqrt(1.0 * 0.4)]
    assert [round(e.prior, 5) for e in found] == [round(p, 5) for p in expected]
    flat = list(itertools.chain.from_iterable(item.audits for item in audited))
    assert [(e.soft_count, e.samples, e.chunk_ids) for e in found] == [
        (a.soft_count, a.samples, a.chunk_ids) for a in flat
    ]


def test_redraws_are_the_students_own_texts_scored_against_the_teachers():
    teacher, student = ScriptedTeacher(lambda _: ["ab", "xy"]), ScriptedTeacher(lambda _: ["ab", "ax", "zz"])
    [item] = audit([rollout(ABC)], [[chunk(0)]], teacher, edit_similarity, 2, redraws=3, student=student)
    table = [[1, 0], [0.5, 0.5 * 0], [0, 0]]
    table[1][1] = float(edit_similarity("ax", ["xy"])[0])
    assert math.isclose(item.audits[0].redraw_similarity, sum(map(sum, table)) / 6, rel_tol=1e-6)
    assert evidence([item])[0].redraw_share == item.audits[0].redraw_similarity


def test_redraws_begin_after_the_teachers_draws():
    """A student that is its own teacher would otherwise be compared with the very same texts."""
    teacher, student = ScriptedTeacher(numbered), ScriptedTeacher(numbered)
    audit([rollout(ABC)], [[chunk(2)]], teacher, edit_similarity, 4, redraws=3, student=student)
    [asked], [redrawn] = teacher.requests, student.requests
    assert (asked.first_sample, asked.samples) == (0, 4)
    assert (redrawn.first_sample, redrawn.samples, redrawn.prefix) == (4, 3, asked.prefix)


def test_without_redraws_there_is_no_same_fork_baseline():
    [item] = audit([rollout(ABC)], [[chunk(0)]], ScriptedTeacher(numbered), edit_similarity, samples=2)
    assert evidence([item])[0].redraw_share is None
    assert isinstance(item, AuditedRollout)


# ── by name ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_similarity_by_its_name_and_power():
    for name, compare in without_model().items():
        assert similarity_named(name)("ab 1", ["ab 2", "ab"]).tolist() == pytest.approx(compare("ab 1", ["ab 2", "ab"]))
    assert similarity_named("characters", 8.0)("ab", ["ax"]).tolist() == [0.5**8]
    with pytest.raises(ConfigError, match=r"audit\.similarity is 'character': .*characters"):
        similarity_named("character")
