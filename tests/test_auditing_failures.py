"""What is no evidence: the fork stays unanswered, its reason is kept, and nothing counts as disagreement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from omniopd.auditing import INSIDE_CHARACTER, audit, evidence
from omniopd.method.tensors import edit_similarity, exact_similarity
from omniopd.models.text.token_text import pieces
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.types import (
    HALF_CHARACTER,
    ContinuationRequest,
    Continuations,
    Rollout,
    Usage,
)
from tests.audits import ABC, chunk, numbered, tokenized
from tests.builders import prompt, rollout, tiny_tokenizer
from tests.models.families import family


def test_fewer_texts_leave_the_fork_unanswered_and_are_no_disagreement():
    def answer(request: ContinuationRequest) -> Continuations:
        texts = ("cd",) * (2 if request.prefix == "ab" else 3)
        return Continuations(texts, usage=Usage(output_tokens=5, cost_usd=0.25))

    [item] = audit([rollout(ABC)], [[chunk(0), chunk(2)]], ScriptedTeacher(answer), edit_similarity, samples=3)
    assert [a.fork.start for a in item.audits] == [0]
    [missed] = item.unanswered
    assert (missed.fork, missed.problem) == (chunk(2), "2 of 3 texts")
    assert missed.usage.cost_usd == 0.25  # what a failure cost stays in the ledger
    assert len(evidence([item])) == 1


def test_a_problem_is_kept_as_the_reason_even_where_there_are_texts():
    answer = Continuations(("cd", "cd"), problem="refused")
    [item] = audit([rollout(ABC)], [[chunk(0)]], ScriptedTeacher(lambda _: answer), edit_similarity, samples=2)
    assert item.audits == ()
    assert item.unanswered[0].problem == "refused"


def test_an_empty_text_is_an_answer_that_agrees_with_nothing():
    [item] = audit([rollout(ABC)], [[chunk(0)]], ScriptedTeacher(lambda _: ["", "ab"]), edit_similarity, samples=2)
    assert item.audits[0].similarities.tolist() == [0, 1]


@pytest.mark.parametrize("half", ["\ud83d", " a\ude42b", "\udc80" * 3])
@pytest.mark.parametrize("whole", [True, False])
def test_a_text_with_half_of_a_surrogate_pair_leaves_its_fork_unaudited_and_is_kept_nowhere(
    half: str, whole: bool, tmp_path: Path
):
    student = tokenized("the cat sat")

    def says(request: ContinuationRequest) -> Sequence[str] | Continuations:
        texts = (" dog", half) if request.prefix else (" dog", " cat")
        return Continuations(texts, (False, True)) if whole else texts

    cached = CachedTeacher(ScriptedTeacher(says), tmp_path / "a.sqlite")
    for _ in range(2):  # a resume asks again
        [item] = audit([student], [[chunk(0, 1), chunk(1, 1)]], cached, edit_similarity, 2, tokenizer=tiny_tokenizer())
        assert [a.fork.start for a in item.audits] == [0]
        assert [(u.fork.start, u.problem) for u in item.unanswered] == [(1, HALF_CHARACTER)]
    assert len(cached.answers) == 2


def test_any_other_text_is_evidence():
    texts = ["\0", "\ufffe\uffff", "\U0010ffff", "\u0378\ue000", "\u202e\u200d", "\r\n\x85\u2028", "é\u0301", ""]
    student = tokenized("the cat sat")
    [item] = audit(
        [student], [[chunk(1, 1)]], ScriptedTeacher(texts), edit_similarity, len(texts), tokenizer=tiny_tokenizer()
    )
    assert item.audits[0].samples == len(texts)
    text_of = [tiny_tokenizer().decode(ids or []) for ids in item.audits[0].continuation_ids]
    assert all(text.startswith(shown.rstrip("\ufffd")) for text, shown in zip(texts, text_of, strict=True))


def test_a_chunk_says_what_the_student_wrote_in_it_though_its_last_character_never_ends():
    """A decoder reads a run of byte tokens as one: a byte that is missing at its end spoils all of it."""
    tokenizer = family("byte-fallback")
    ids = [tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in "中文的".encode()[:-1]]
    plain = torch.zeros(len(ids))
    student = Rollout(prompt(), torch.tensor([1]), torch.tensor(ids), plain, plain, pieces(tokenizer, ids))
    assert student.text == "\ufffd" * 8
    [item] = audit([student], [[chunk(0, 7)]], ScriptedTeacher(["中文"]), exact_similarity, 1, tokenizer=tokenizer)
    assert (item.audits[0].chunk, item.audits[0].soft_count) == ("中文", 1)


def test_a_fork_inside_a_character_is_not_asked_about():
    student = tokenized("a🙂 cat")
    inside = next(t for t in range(1, len(student)) if not student.pieces[t - 1])
    teacher = ScriptedTeacher(numbered)
    [item] = audit([student], [[chunk(0, 1), chunk(inside, 1)]], teacher, edit_similarity, samples=2)
    assert len(teacher.requests) == 1
    assert item.unanswered[0].problem == INSIDE_CHARACTER
    assert item.unanswered[0].usage == Usage()
