"""What each recorded fork does to the loss adds up to the loss; evidence and targets as records hold them; no torch."""

from __future__ import annotations

import itertools
import math
import random
import subprocess
import sys
from dataclasses import replace

import numpy
import pytest
import torch

from omniopd.config.settings import ObjectiveConfig
from omniopd.method.evidence import ForkTarget
from omniopd.method.loss import omniopd_loss
from omniopd.method.loss_breakdown import break_down
from omniopd.method.recorded import END, evidence_of, recorded_targets, tokens_of
from omniopd.method.targets import targets_of_forks
from omniopd.records import AuditRecord, RolloutRecord

PIECES = {5: " a", 6: " b", 2: " end", 7: " c"}


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


@pytest.mark.parametrize("anchor_on", ["unaudited", "all"])
@pytest.mark.parametrize("target", ["paper", "centred", "prefix_credit"])
def test_the_ledger_adds_up_to_the_loss(target, anchor_on):
    rollouts, normaliser = [rollout_of(seed=1, row=row) for row in range(3)], 36.0
    objective = ObjectiveConfig(anchor_on=anchor_on, anchor_weight=0.4)
    targets = targets_of_forks(evidence_of(rollouts), target)
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
    found = break_down(rollouts, targets, objective, normaliser)
    assert found.is_exact
    assert found.chunk_loss == pytest.approx(float(loss.chunk), abs=1e-6)
    assert found.anchor_loss == pytest.approx(float(loss.anchor), abs=1e-6)
    assert found.anchored_tokens == 3 * 6
    assert found.size == pytest.approx(abs(found.anchor) + sum(abs(f.chunk) + abs(f.anchor) for f in found.forks))


def test_labels_other_than_the_students_token_count_at_least_what_it_leaves_them():
    rollouts = [rollout_of(seed=3, row=row) for row in range(3)]
    targets = targets_of_forks(evidence_of(rollouts), "labels")
    found = break_down(rollouts, targets, ObjectiveConfig())
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
        [target, _] = targets_of_forks(evidence_of([r]), "posterior_kl")
        if seed % 3 == 0:
            target = ForkTarget(target.weights, ({r.pieces[1]: 4.0},))
        [found, _] = break_down([r], [target, ForkTarget(numpy.zeros(3))], objective).forks
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
    target = ForkTarget(numpy.zeros(3), ({r.pieces[1]: 4.0},))
    found = break_down([r], [target, ForkTarget(numpy.zeros(3))], ObjectiveConfig(target="posterior_kl")).forks[0]
    assert found.labels == pytest.approx(math.log(5.0))


def test_a_label_that_may_be_the_students_own_token_counts_nothing():
    """An end-of-turn token has an empty piece, and half a character reads as U+FFFD: neither can be told apart."""
    r = rollout_of(seed=0, row=0)
    for token in ("", "\ufffd"):
        targets = [ForkTarget(numpy.zeros(3), ({token: 1.0},)), ForkTarget(numpy.zeros(3))]
        [first, _] = break_down([r], targets, ObjectiveConfig()).forks
        assert (first.labels, first.label_mass_unknown) == (0.0, 1.0)


def test_an_empty_text_is_a_text_and_one_without_tokens_is_none():
    r = rollout_of(seed=0, row=0)
    audit = replace(r.audits[0], texts=("", "lost", " a b a", " b"), text_pieces=((), (), (" a", " b", " a"), (" b",)))
    [found] = evidence_of([replace(r, audits=(audit,))])
    assert found.continuation_ids == ((), None, (" a", " b", " a"), (" b",))


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
    found = recorded_targets([trained])
    assert [(t.weights.tolist(), t.labels) for t in found] == 2 * [([0.5] * 3, ({" a": 0.5, "\ufffd": 0.5},))]


def test_what_views_import_loads_no_torch():
    code = "import sys, omniopd.method.loss_breakdown, omniopd.method.similarity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
