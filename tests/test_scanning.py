"""Facts about scanning answers with a teacher: one forward says what its texts would, and what fails loses nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from omniopd import embedded
from omniopd.auditing import audit_as_set, evidence, made_of, scan, similarity_named
from omniopd.config import AuditConfig
from omniopd.errors import ConfigError
from omniopd.method.tensors import fork_targets
from omniopd.models.sampling import sample
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.statistics import audit_statistics, spend
from omniopd.types import Continuations, Usage
from tests.audits import tokenized
from tests.builders import gpt2_model, sliding_model, tiny_model, tiny_tokenizer
from tests.models.families import family


@lru_cache
def lab():
    return embedded.lab()


@lru_cache
def answers(count=6, tokens=96, seed=0):
    return sample(lab().student, lab().tokenizer, lab().task.prompts("test", count), max_tokens=tokens, seed=seed)


def teacher(model=None, **more):
    return LocalTeacher(model or lab().teacher, lab().tokenizer, **more)


def scanned(rollouts, by, **more):
    return scan(rollouts, by, lab().tokenizer, **{"longest": 96, **more})


def most_uncertain(rollout):
    return rollout.entropies.argsort(descending=True).tolist()


def labels(audited):
    """By answer, place and draw: the teacher's token."""
    return [
        {(a.fork.start + i): [t[i] for t in a.continuation_ids] for a in item.audits for i in range(len(a.chunk_ids))}
        for item in audited
    ]


def parts(audited):
    return [(a.fork, a.texts, a.continuation_ids, a.similarities.tolist()) for item in audited for a in item.audits]


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"longest": 3},
        {"at_once": 3},
        {"texts": 4, "longest": 5},
        {"texts": 4, "longest": 5, "at_once": 2},
    ],
    ids=str,
)
def test_one_forward_gives_the_labels_of_texts_asked_for_one_after_the_other(samples, how):
    how = {"order": most_uncertain, "samples": samples, "seed": 4, **how}
    read, written = (scanned(answers(), teacher(), by_forward=way, **how) for way in (True, False))
    assert parts(read) == parts(written)
    assert spend(read).calls == spend(written).calls
    assert sum(len(a.chunk_ids) for item in read for a in item.audits) > len(parts(read))


@pytest.mark.parametrize("make", [gpt2_model, sliding_model])
@pytest.mark.parametrize("sampling", [{"temperature": 0.5}, {"temperature": 0.0}, {"top_p": 0.6}])
def test_so_does_another_architecture_however_it_samples(make, sampling):
    rollouts = [tokenized("the cat sat on the mat and the dog ran to the man", of) for of in range(4)]
    other = LocalTeacher(make(), tiny_tokenizer(), **sampling)
    read, written = (
        scan(rollouts, other, tiny_tokenizer(), longest=24, seed=1, samples=2, by_forward=way) for way in (True, False)
    )
    assert parts(read) == parts(written)


def law(model, rollout):
    ids = torch.cat([rollout.prompt_ids, rollout.token_ids])[None]
    with torch.no_grad():
        return model(input_ids=ids).logits[0, len(rollout.prompt_ids) - 1 : -1].double().softmax(-1)


def test_every_label_has_the_teachers_law_at_its_place_whatever_the_answer_says_later():
    """By chi-square at each place of an answer with several choices; all places together."""
    [answer], draws = answers(1), 1500
    [found] = labels(scanned([answer], teacher(), samples=draws, seed=11))
    square, cells = 0.0, 0
    for place, wanted in enumerate(law(lab().teacher, answer) * draws):
        assert len(found[place]) == draws
        counts = torch.bincount(torch.tensor(found[place]), minlength=len(wanted)).double()
        likely = wanted >= 5
        groups = [(counts[i], wanted[i]) for i in likely.nonzero().squeeze(-1)]
        if (rest := wanted[~likely].sum()) >= 5:
            groups.append((counts[~likely].sum(), rest))
        square += float(sum((k - n) ** 2 / n for k, n in groups))
        cells += len(groups) - 1
    assert cells >= 10
    assert abs(square - cells) < 4 * math.sqrt(2 * cells)


def test_labels_of_two_places_and_of_two_draws_are_independent():
    [answer], draws = answers(1), 1500
    [found] = labels(scanned([answer], teacher(), samples=draws, seed=5))
    agrees = torch.tensor([[float(said == token) for said in found[place]]
                           for place, token in enumerate(answer.token_ids.tolist())])  # fmt: skip
    agrees = agrees[agrees.std(-1) > 0.1]
    assert len(agrees) >= 4
    between = torch.corrcoef(agrees) - torch.eye(len(agrees))
    assert between.abs().max() < 4.5 / math.sqrt(draws)
    centred = agrees - agrees.mean(-1, keepdim=True)
    assert abs((centred[:, :-1] * centred[:, 1:]).mean() / centred.var()) < 4.5 / math.sqrt(draws * len(agrees))


def test_draws_hang_on_seed_and_row_alone():
    rollouts = answers()
    whole = labels(scanned(rollouts, teacher(), seed=2, first_row=8))
    alone = labels(scanned(rollouts[2:3], teacher(batch_tokens=64), seed=2, first_row=10))
    assert whole[2] == alone[0]
    assert whole != labels(scanned(rollouts, teacher(), seed=3, first_row=8))
    more = labels(scanned(rollouts, teacher(), samples=2, seed=2, first_row=8))
    assert [{place: said[:1] for place, said in row.items()} for row in more] == whole


def test_two_answers_to_one_prompt_do_not_share_their_draws():
    first, second = (labels(scanned(2 * answers(1), teacher(), seed=seed)) for seed in (2, 3))
    assert first[0] != first[1]
    assert first != second


def test_acceptance_is_how_often_the_two_distributions_meet_and_every_token_has_its_label():
    """a estimates the teacher's probability of the student's own tokens: of answers that are the student's draws the
    mean of that is Σ_v π_T(v) π_θ(v)."""
    rollouts, draws = answers(), 200
    found = audit_statistics(scanned(rollouts, teacher(), samples=draws, seed=1), [])
    own = [law(lab().teacher, r).gather(-1, r.token_ids[:, None]).flatten() for r in rollouts]
    tokens = sum(map(len, own))
    assert found["scan/acceptance"] == pytest.approx(float(torch.cat(own).mean()), abs=2 / (tokens * draws) ** 0.5)
    assert found["scan/labelled_share"] == 1
    differences = (1 - torch.cat(own)).sum() / len(rollouts)
    assert found["scan/texts_per_answer"] == pytest.approx(draws * (1 + float(differences)), rel=0.03)


def test_the_end_of_a_turn_is_a_token_like_any_other():
    """A teacher that stops where the student goes on differs, and so does one that goes on where the student stops."""
    tokenizer, answer = tiny_tokenizer(), replace(tokenized("the cat sat"), finish="stop")
    end = tokenizer.eos_token_id
    answer = replace(
        answer, token_ids=torch.tensor([*answer.token_ids.tolist(), end]), pieces=(*answer.pieces, ""),
        logprobs=torch.zeros(len(answer) + 1), entropies=torch.zeros(len(answer) + 1),
    )  # fmt: skip

    def says(text, stopped):
        return ScriptedTeacher(
            lambda request: Continuations((text.removeprefix(request.prefix),), (stopped,), Usage(calls=1))
        )

    stops = scan([answer], says("the cat sat", True), tokenizer, longest=8)
    assert [a.continuation_ids for a in stops[0].audits] == [(tuple(answer.token_ids.tolist()),)]
    early = scan([answer], says("the cat", True), tokenizer, longest=8)[0].audits[0]
    assert early.continuation_ids == ((*answer.token_ids.tolist()[:2], end),)
    assert (early.fork.start, early.fork.stop) == (0, 3)
    on = scan([answer], says("the cat sat on", False), tokenizer, longest=8)[0].audits[0]
    assert on.texts == ("the cat sat on",)
    assert on.chunk == "the cat sat"
    assert on.similarities.tolist() == [0.0]


def test_a_scan_that_breaks_keeps_the_labels_it_has():
    answer = tokenized("the cat sat on the mat and the dog ran")

    def breaks(request):
        if request.prefix:
            return Continuations((), usage=Usage(calls=1, cost_usd=0.5), problem="deadline")
        return Continuations(("the cat ran",), (False,), Usage(calls=1))

    [item] = scan([answer], ScriptedTeacher(breaks), tiny_tokenizer(), longest=20)
    assert [(a.fork.start, a.fork.stop, a.texts) for a in item.audits] == [(0, 3, ("the cat ran",))]
    assert [(u.fork.start, u.problem, u.usage.cost_usd) for u in item.unanswered] == [(3, "deadline", 0.5)]


def test_a_teacher_that_says_nothing_is_asked_at_every_place_once_and_no_more():
    answer = tokenized("the cat sat")
    silent = ScriptedTeacher(lambda request: Continuations(("",), (False,), Usage(calls=1)))
    [item] = scan([answer], silent, tiny_tokenizer(), longest=20)
    assert item.audits == ()
    assert len(silent.requests) == len(answer) == len(item.unanswered)


def test_requests_carry_the_draft_and_the_next_begins_right_behind_the_difference():
    answer = tokenized("the cat sat on the mat")
    scripted = ScriptedTeacher(lambda request: Continuations((" dog sat",), (False,), Usage(calls=1)))
    scan([answer], scripted, tiny_tokenizer(), longest=3)
    asked = [(r.prefix, r.draft, r.draft_ids, r.max_tokens, r.samples) for r in scripted.requests]
    ids = answer.token_ids.tolist()
    assert asked[:2] == [
        ("", "the cat sat", tuple(ids[:3]), 3, 1),
        ("the", " cat sat on", tuple(ids[1:4]), 3, 1),
    ]


def test_a_teacher_of_another_tokenizer_is_asked_for_texts_and_its_last_word_is_cut_as_the_student_cuts_words():
    answer = tokenized("the cat sat on the mat")
    says = ScriptedTeacher(lambda request: Continuations(("the cat sings so", ), (False,), Usage(calls=1)))
    once = {"longest": 6, "texts": 1, "order": lambda r: [0], "tokens_per_student_token": 1.3}
    [item] = scan([answer], says, tiny_tokenizer(), **once)
    [run] = item.audits
    said = tiny_tokenizer().decode(run.continuation_ids[0])
    assert " sings".startswith(said.removeprefix("the cat"))
    assert said != "the cat"
    assert says.requests[0].max_tokens > 6
    with pytest.raises(ConfigError, match="tokens_per_student_token"):
        scan([answer], LocalTeacher(tiny_model(7), family("metaspace")), tiny_tokenizer(), longest=24)


def test_an_audit_as_set_scans_and_its_targets_stand_beside_its_audits():
    settings = AuditConfig(way="scan", forks=0, samples=2, chunk_tokens=24)
    audited = audit_as_set(
        settings, answers(), teacher(), lab().tokenizer, torch.Generator(), 3, similarity_named("exact")
    )
    made = made_of(audited, fork_targets(evidence(audited), "posterior_kl"))
    found = labels(audited)
    for item, row in zip(audited, found, strict=True):
        assert sorted(row) == list(range(len(item.rollout)))
        for a in item.audits:
            target, made = made[0], made[1:]
            assert len(target.weights) == len(target.labels) == len(a.chunk_ids)
            for i, slots in enumerate(target.labels):
                said = row[a.fork.start + i]
                assert slots == {token: float(said.count(token)) for token in said}
    assert made == []
