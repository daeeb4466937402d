"""What a step tells of itself is what loops over its audits would say."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from omniopd.method.evidence import ForkTarget
from omniopd.training.statistics import LossSums, audit_statistics, failures, spend
from omniopd.types import Audit, AuditedRollout, Continuations, Fork, Unanswered, Usage
from tests.builders import rollout


def audit(start: int, similarities: list[float], entropy: float = 2.0, usable: int = 0) -> Audit:
    texts = tuple(f"{i % 2}" for i in range(len(similarities)))
    ids = tuple((5,) if i < usable else None for i in range(len(similarities)))
    answer = Continuations(texts, usage=Usage(10, 4, 0, 0.5, 1), echoes=1, exact=entropy != 4)
    return Audit(
        Fork(start, start + 2, entropy), "ab", (1, 2), texts, ids, torch.tensor(similarities), answer, 0.5,
        reencodes=entropy == 3,
    )  # fmt: skip


AUDITED = [
    AuditedRollout(
        rollout(["a"] * 6, entropies=[2.0, 0, 0, 3.0, 0, 1.0]),
        (audit(0, [0.5, 0.7], usable=1), audit(3, [0.1, 0.3], 3.0)),
        (Unanswered(Fork(5, 6, 1.0), "timeout", Usage(cost_usd=0.25)),),
    ),
    AuditedRollout(rollout(["a"] * 4, entropies=[0.5] * 4, finish="length"), ()),
    AuditedRollout(rollout(["a"] * 2, entropies=[4.0, 0]), (audit(0, [1.0, 0.8], 4.0, 2),)),
]
TARGETS = [
    ForkTarget(torch.tensor([0.5, -0.5]), ({7: 1.0}, {})),
    ForkTarget(torch.tensor([0.2, 0.4])),
    ForkTarget(torch.tensor([-0.1, -0.1]), ({7: 0.5, 8: 0.5}, {9: 1.0})),
]


def test_statistics_over_the_audits_of_a_batch():
    found = audit_statistics(AUDITED, TARGETS)
    weights = [0.5, -0.5, 0.2, 0.4, -0.1, -0.1]
    expected = {
        "targets/mean": statistics.mean(weights),
        "targets/std": statistics.stdev(weights),
        "targets/within_std": statistics.mean([statistics.stdev(w) for w in ([0.5, -0.5], [0.2, 0.4], [-0.1, -0.1])]),
        "targets/between_std": statistics.stdev([0.0, 0.3, -0.1]),
        "targets/negative_share": 3 / 6,
        "targets/label_positions": 3,
        "soft_count/mean": statistics.mean([1.2, 0.4, 1.8]),
        "soft_count/share_mean": statistics.mean([0.6, 0.2, 0.9]),
        "soft_count/share_std": statistics.stdev([0.6, 0.2, 0.9]),
        "similarity/within_std": statistics.mean([statistics.stdev(s) for s in ([0.5, 0.7], [0.1, 0.3], [1.0, 0.8])]),
        "similarity/between_std": statistics.stdev([0.6, 0.2, 0.9]),
        "texts/different": 2,
        "texts/usable_as_tokens": statistics.mean([0.5, 0, 1]),
        "audited/token_share": 6 / 12,
        "audited/answer_share": statistics.mean([4 / 6, 0, 1]),
        "forks/per_rollout": 1,
        "forks/unanswered": 1,
        "forks/reencoded_share": 1 / 3,
        "teacher/exact_share": 2 / 3,
        "teacher/echoes": 3,
        "entropy/forks": 3,
        "entropy/elsewhere": (6 + 2 + 4 - 9) / (12 - 3),
        "length/mean": 4,
        "length/cut_off_share": 1 / 3,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name


def test_a_batch_without_audits_has_the_same_names_and_nan_where_there_is_nothing_to_say():
    for nothing in ([], [AuditedRollout(rollout("abc"), ())]):
        found = audit_statistics(nothing, [])
        assert found.keys() == audit_statistics(AUDITED, TARGETS).keys()
        assert math.isnan(found["targets/mean"])
        assert found["audited/token_share"] == 0


def test_what_the_teacher_took_includes_failures():
    assert spend(AUDITED) == Usage(30, 12, 0, 1.75, 3)
    assert failures(AUDITED) == {"timeout": 1}


# ── sums over micro-batches ──────────────────────────────────────────────────────────────────────────────────────────


def sums(chunk: float, audited: int, kl: float, lowest: float) -> LossSums:
    made = LossSums()
    made.add(
        chunk=chunk, anchor=0.5, chunk_unscaled=chunk * 8, audited=audited, anchored=0, kl_audited=kl, kl_anchored=0
    )
    made.lowest("logprob", torch.tensor([lowest, 0.0]))
    return made


def test_means_over_tokens_are_of_the_whole_step_and_not_means_of_means():
    whole = LossSums.joined([sums(1.0, 3, 6.0, -2.0), sums(3.0, 1, 0.0, -5.0)]).metrics()
    assert whole["loss/chunk"] == 4
    assert whole["loss/anchor"] == 1
    assert whole["loss/total"] == 5
    assert whole["kl/audited"] == 6 / 4
    assert whole["loss/chunk_per_token"] == 32 / 4
    assert whole["logprob/audited_min"] == -5
    assert math.isnan(whole["kl/anchored"])


def test_the_loss_is_the_mean_over_processes_as_its_gradient_is():
    """Each process divides by its own share of the rollouts, and the gradients are averaged."""
    both = LossSums.joined([sums(1.0, 3, 6.0, -2.0), sums(3.0, 1, 0.0, -5.0)])
    assert both.metrics(processes=2)["loss/total"] == both.metrics()["loss/total"] / 2
    assert both.metrics(processes=2)["kl/audited"] == both.metrics()["kl/audited"]


def test_joining_is_associative_and_leaves_its_parts_alone():
    parts = [sums(float(i), i, float(i), -float(i)) for i in range(1, 4)]
    left = LossSums.joined([LossSums.joined(parts[:2]), parts[2]]).metrics()
    assert str(left) == str(LossSums.joined(parts).metrics())
    assert parts[0].metrics()["loss/chunk"] == 1


def test_a_step_without_an_audited_token_has_no_lowest_log_probability():
    made = LossSums()
    made.lowest("logprob", torch.zeros(0))
    assert math.isnan(made.metrics()["logprob/audited_min"])
