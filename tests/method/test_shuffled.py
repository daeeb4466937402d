"""The control `shuffled`: every fork gets the evidence of another one, and each way of doing so is equally likely."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from scipy import stats

from omniopd.method.controls import derangement
from omniopd.method.evidence import ForkEvidence
from omniopd.method.tensors import fork_targets, permutations


@pytest.mark.parametrize("forks", [2, 3, 4, 7, 20])
def test_shuffled_leaves_no_fork_its_own_evidence(forks):
    batch = [ForkEvidence(i % 4, (5, 6), float(i), 10, 0.5, ((10 + i,),)) for i in range(forks)]
    for seed in range(50):
        moved = fork_targets(batch, "labels", "shuffled", generator=torch.Generator().manual_seed(seed))
        donors = [next(iter(t.labels[0])) - 10 for t in moved]
        assert sorted(donors) == list(range(forks))
        assert all(donor != own for own, donor in enumerate(donors))


def test_every_derangement_is_equally_likely_and_one_fork_keeps_its_own():
    draws = permutations(torch.Generator().manual_seed(0))
    found = Counter(tuple(derangement(4, draws)) for _ in range(4500))
    every = [p for p in itertools.permutations(range(4)) if all(i != place for place, i in enumerate(p))]
    assert len(every) == 9
    assert set(found) == set(every)
    assert stats.chisquare([found[p] for p in every]).pvalue > 0.001
    assert (derangement(1, draws), derangement(0, draws)) == ([0], [])
