"""The torch-free twins that views use give what the method gives: similarities, posteriors, targets, the loss."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from omniopd.config.settings import ObjectiveConfig
from omniopd.errors import ConfigError
from omniopd.method.loss import omniopd_loss
from omniopd.method.loss_breakdown import ledger
from omniopd.method.plain_similarity import PLAIN_BY_NAME, mean_self_agreement, plain_similarity
from omniopd.method.plain_targets import (
    END,
    PLAIN_TARGETS,
    PlainEvidence,
    PlainTarget,
    evidence_of,
    plain_targets,
    recorded_targets,
    tokens_of,
)
from omniopd.method.posterior import nominal_posterior, posterior_mean, spread_interval
from omniopd.method.similarity import BY_NAME, self_agreement
from omniopd.method.targets import ForkEvidence, derangement, fork_targets
from omniopd.method.what_if import posterior_of, shares, spread_interval_of, subsample_spread
from omniopd.records import AuditRecord, RolloutRecord

TEXTS = ["", " ", "so 2 plus 3 is 5", "so 2 plus 3 is 6", "So, 2+3 = 5!", "été \U0001f600", "5", "the the cat"]
PIECES = {5: " a", 6: " b", 2: " end", 7: " c"}


def evidence(seed: int, share_of_lost: float = 0.2) -> list[PlainEvidence]:
    """Few rollouts, few forks, few different tokens (ids), chunks of different lengths."""
    draw = random.Random(seed)
    found = []
    for rollout in range(draw.randint(1, 4)):
        for _ in range(draw.randint(0, 3)):
            texts = [
                None if draw.random() < share_of_lost else tuple(draw.choices([5, 6, 2], k=draw.randint(0, 4)))
                for _ in range(draw.randint(1, 5))
            ]
            found.append(
                PlainEvidence(
                    rollout,
                    tuple(draw.choices([5, 6], k=draw.randint(1, 4))),
                    tuple(draw.random() for _ in texts),
                    0.1 + 0.9 * draw.random(),
                    tuple(texts),
                )
            )
    return found


def with_torch(plain: list[PlainEvidence]) -> list[ForkEvidence]:
    return [
        ForkEvidence(e.rollout, e.chunk, sum(e.similarities), len(e.similarities), e.prior, e.continuations)
        for e in plain
    ]


def rollout_of(seed: int, row: int, anchor_on: str = "unaudited") -> RolloutRecord:
    """A rollout of twelve tokens with two audits of three, as a trainer writes them (without weights)."""
    draw = random.Random(100 * seed + row)
    pieces = tuple(PIECES[draw.choice([5, 6, 7])] for _ in range(12))
    logprobs = tuple(math.log(0.05 + 0.9 * draw.random()) for _ in pieces)
    audits = []
    for start in (1, 7):
        texts = [tuple(PIECES[t] for t in draw.choices([5, 6, 2], k=3)) for _ in range(4)]
        similarities = tuple(draw.random() for _ in texts)
        prior = math.exp(sum(logprobs[start : start + 3]) / 3)
        audits.append(
            AuditRecord(
                start, start + 3, draw.random(), "".join(pieces[start : start + 3]), tuple(map("".join, texts)),
                similarities, sum(similarities), prior, 0.0, 1.0, text_pieces=tuple(texts),
            )
        )  # fmt: skip
    return RolloutRecord(
        row, 1, f"p{row}", (), pieces, logprobs, tuple(draw.random() for _ in pieces),
        tuple(draw.random() for _ in pieces), audits=tuple(audits),
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(PLAIN_BY_NAME))
def test_plain_similarities_are_the_methods(name):
    assert sorted(PLAIN_BY_NAME) == sorted(BY_NAME)
    for chunk in TEXTS:
        assert plain_similarity(name)(chunk, TEXTS) == pytest.approx(BY_NAME[name](chunk, TEXTS).tolist(), abs=1e-7)


def test_self_agreement_is_the_mean_over_different_pairs():
    matrix = self_agreement(TEXTS, BY_NAME["characters"])
    apart = matrix[~torch.eye(len(TEXTS), dtype=torch.bool)]
    assert mean_self_agreement(TEXTS, plain_similarity("characters")) == pytest.approx(float(apart.mean()), abs=1e-6)
    assert math.isnan(mean_self_agreement(["one"], plain_similarity("exact")))


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="characters, tokens, rouge1, exact"):
        plain_similarity("embedding")
    with pytest.raises(ConfigError, match="prefix_credit"):
        plain_targets([], "papers")


@pytest.mark.parametrize("seed", range(20))
def test_a_plain_posterior_is_the_methods(seed):
    draw = random.Random(seed)
    values = [draw.random() for _ in range(draw.randint(1, 12))]
    prior, alpha = draw.random(), draw.choice([0.0, 0.3, 1.0, 7.0])
    plain, real = posterior_of(values, prior, alpha), nominal_posterior(sum(values), len(values), prior, alpha)
    assert (plain.agree, plain.disagree) == pytest.approx((real.agree, real.disagree), abs=1e-12)
    mean = posterior_mean(torch.tensor(sum(values)), len(values), torch.tensor(prior), alpha)
    assert plain.mean == pytest.approx(float(mean), abs=1e-6)
    tensor = torch.tensor(values, dtype=torch.float64).float()
    assert spread_interval_of(tensor.tolist(), prior, alpha) == pytest.approx(
        spread_interval(tensor, prior, alpha), abs=1e-9
    )
    assert sum(shares(len(values), alpha)) == pytest.approx(1)


def test_no_texts_leave_the_prior():
    assert posterior_of((), 0.3, 2.0).mean == pytest.approx(0.3)


@pytest.mark.parametrize("samples", [1, 2, 4, 5])
def test_the_spread_over_sub_samples_is_that_of_all_of_them(samples):
    values, prior, alpha = [0.1, 0.9, 0.4, 0.7, 0.75], 0.6, 1.5
    every = [posterior_of(some, prior, alpha).mean for some in itertools.combinations(values, samples)]
    found = subsample_spread(values, samples, prior, alpha)
    assert found.mean == pytest.approx(statistics.mean(every))
    assert found.deviation == pytest.approx(statistics.pstdev(every))
    assert (found.low, found.high) == pytest.approx((min(every), max(every)))
    assert posterior_of(values, prior, alpha, samples).mean == pytest.approx(found.mean)


def test_a_sub_sample_is_no_larger_than_what_is_at_hand():
    with pytest.raises(ValueError, match="1 to 2"):
        subsample_spread([0.1, 0.2], 3, 0.5)


@pytest.mark.parametrize("control", ["none", "constant", "prior_only", "shuffled"])
@pytest.mark.parametrize("target", PLAIN_TARGETS)
def test_plain_targets_are_the_methods(target, control):
    for seed in range(20):
        plain, depth = evidence(seed), 1 + seed % 3
        if not plain:
            continue
        order = None
        if control == "shuffled":
            order = derangement(len(plain), torch.Generator().manual_seed(seed))
        generator = torch.Generator().manual_seed(seed)
        real = fork_targets(with_torch(plain), target, control, 1.5, depth, generator)
        for mine, theirs in zip(plain_targets(plain, target, control, 1.5, depth, order), real, strict=True):
            assert mine.weights == pytest.approx(theirs.weights.tolist(), abs=1e-6)
            assert len(mine.labels) == len(theirs.labels)
            for own, other in zip(mine.labels, theirs.labels, strict=True):
                assert dict(own) == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("anchor_on", ["unaudited", "all"])
@pytest.mark.parametrize("target", ["paper", "centred", "prefix_credit"])
def test_the_ledger_adds_up_to_the_loss(target, anchor_on):
    rollouts, normaliser = [rollout_of(seed=1, row=row) for row in range(3)], 36.0
    objective = ObjectiveConfig(anchor_on=anchor_on, anchor_weight=0.4)
    targets = plain_targets(evidence_of(rollouts), target)
    weights, anchored = torch.zeros(3, 12), torch.ones(3, 12, dtype=torch.bool)
    for i, (row, start) in enumerate(itertools.product(range(3), (1, 7))):
        weights[row, start : start + 3] = torch.tensor(targets[i].weights)
        if anchor_on == "unaudited":
            anchored[row, start : start + 3] = False
    loss = omniopd_loss(
        torch.tensor([r.logprobs for r in rollouts]),
        torch.tensor([r.anchor_kl for r in rollouts]),
        weights,
        anchored,
        0.4,
        normaliser,
    )
    found = ledger(rollouts, targets, objective, normaliser)
    assert found.is_exact
    assert found.chunk_loss == pytest.approx(float(loss.chunk), abs=1e-6)
    assert found.anchor_loss == pytest.approx(float(loss.anchor), abs=1e-6)
    assert found.anchored_tokens == 3 * 6
    assert found.size == pytest.approx(abs(found.anchor) + sum(abs(f.chunk) + abs(f.anchor) for f in found.forks))


def test_labels_other_than_the_students_token_count_at_least_what_it_leaves_them():
    rollouts = [rollout_of(seed=3, row=row) for row in range(3)]
    targets = plain_targets(evidence_of(rollouts), "labels")
    found = ledger(rollouts, targets)
    for part, target in zip(found.forks, targets, strict=True):
        r = rollouts[part.row]
        own = r.logprobs[part.start]
        on_own = target.labels[0].get(r.pieces[part.start], 0.0)
        # the kindest student shares the rest among the other labels as the teacher does
        rest = {t: (1 - math.exp(own)) * w / (1 - on_own) for t, w in target.labels[0].items()}
        rest[r.pieces[part.start]] = math.exp(own)
        assert part.labels == pytest.approx(-sum(w * math.log(rest[t]) for t, w in target.labels[0].items()))
        assert part.label_mass_unknown == pytest.approx(1 - on_own)
    assert not found.is_exact


def test_a_divergence_from_counts_is_at_least_that_of_two_cells_and_exact_where_no_text_differs():
    vocabulary, alpha = [" a", " b", " c", " end"], 1.5
    objective = ObjectiveConfig(target="posterior_kl", concentration=alpha)
    draw = random.Random(0)
    for seed in range(30):
        [r] = [rollout_of(seed=seed, row=0)]
        [target, _] = plain_targets(evidence_of([r]), "posterior_kl")
        if seed % 3 == 0:
            target = PlainTarget(target.weights, ({r.pieces[1]: 4.0},))
        [found, _] = ledger([r], [target, PlainTarget((0.0,) * 3)], objective).forks
        # Any student with this probability of its own token.
        own, p = r.pieces[1], math.exp(r.logprobs[1])
        rest = [draw.random() for _ in vocabulary[1:]]
        others = [token for token in vocabulary if token != own]
        probs = {own: p} | {token: (1 - p) * share / sum(rest) for token, share in zip(others, rest, strict=True)}
        [counts] = target.labels
        texts = sum(counts.values())
        real = sum(
            q * math.log(q * (texts + alpha) / (counts.get(token, 0.0) + alpha * q)) for token, q in probs.items()
        )
        assert found.label_mass_unknown == pytest.approx(texts - counts.get(own, 0.0))
        assert 0 <= found.labels <= real + 1e-9
        if seed % 3 == 0:
            assert found.labels == pytest.approx(real)


def test_a_divergence_stays_finite_where_the_students_token_is_impossible():
    r = rollout_of(seed=0, row=0)
    r = replace(r, logprobs=(-2000.0,) * len(r.pieces))
    target = PlainTarget((0.0,) * 3, ({r.pieces[1]: 4.0},))
    found = ledger([r], [target, PlainTarget((0.0,) * 3)], ObjectiveConfig(target="posterior_kl")).forks[0]
    assert found.labels == pytest.approx(math.log(5.0))


def test_a_label_that_may_be_the_students_own_token_counts_nothing():
    """An end-of-turn token has an empty piece, and half a character reads as U+FFFD: neither can be told apart."""
    r = rollout_of(seed=0, row=0)
    for token in ("", "\ufffd"):
        targets = [PlainTarget((0.0,) * 3, ({token: 1.0},)), PlainTarget((0.0,) * 3)]
        [first, _] = ledger([r], targets).forks
        assert (first.labels, first.label_mass_unknown) == (0.0, 1.0)


def test_an_empty_text_is_a_text_and_one_without_tokens_is_none():
    r = rollout_of(seed=0, row=0)
    audit = replace(r.audits[0], texts=("", "lost", " a b a", " b"), text_pieces=((), (), (" a", " b", " a"), (" b",)))
    [found] = evidence_of([replace(r, audits=(audit,))])
    assert found.continuations == ((), None, (" a", " b", " a"), (" b",))


def test_half_a_character_is_known_by_the_character_and_the_end_of_a_turn_by_being_last():
    assert tokens_of((" a", "", "", "é", "b", "")) == (" a", ("half", "é", 2), ("half", "é", 1), "é", "b", END)
    assert tokens_of(("a", ""), after=("ü",)) == ("a", ("half", "ü", 1))


def test_targets_are_read_from_records_only_where_a_trainer_wrote_them():
    bare = rollout_of(seed=0, row=0)
    assert recorded_targets([bare]) is None
    trained = replace(
        bare,
        audits=tuple(
            replace(a, weights=(0.5,) * 3, labels=(((" a", 0.5), ("\ufffd", 0.3), ("\ufffd", 0.2)),))
            for a in bare.audits
        ),
    )
    assert recorded_targets([trained]) == 2 * [PlainTarget((0.5,) * 3, ({" a": 0.5, "\ufffd": 0.5},))]


def test_the_twins_load_no_torch():
    code = (
        "import sys; import omniopd.method.loss_breakdown, omniopd.method.plain_similarity; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
