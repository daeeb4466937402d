"""What the targets do on average, by exact enumeration over every rollout of a tiny language: no sampling, no noise."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from omniopd.method.entropy import token_entropy
from omniopd.method.evidence import ForkEvidence, next_token_labels
from omniopd.method.loss import omniopd_loss
from omniopd.method.posterior import chunk_probability
from omniopd.method.tensors import fork_targets, schedule

VOCAB, TIME, CHUNK = 2, 5, 2
ROLLOUTS = list(itertools.product(range(VOCAB), repeat=TIME))
PREFIXES = {
    prefix: i for i, prefix in enumerate(p for n in range(TIME) for p in itertools.product(range(VOCAB), repeat=n))
}


def language(seed: int = 0) -> Tensor:
    """Free logits after every prefix."""
    draw = torch.Generator().manual_seed(seed)
    return (1.5 * torch.randn(len(PREFIXES), VOCAB, generator=draw, dtype=torch.float64)).requires_grad_()


def statistics(logits: Tensor, rollout: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    rows = logits[[PREFIXES[rollout[:t]] for t in range(TIME)]]
    return rows.log_softmax(-1)[range(TIME), list(rollout)], token_entropy(rows.detach())


def expected_gradient(logits: Tensor, scheduler: str, weigh: Callable[[tuple[int, ...], Tensor, int], float]) -> Tensor:
    """Σ over every rollout of π(rollout) · ∇ of its chunk loss, with one fork per rollout and a weight per chunk."""
    total = torch.zeros((), dtype=torch.float64)
    for rollout in ROLLOUTS:
        logprobs, entropies = statistics(logits, rollout)
        forks = schedule(scheduler, entropies, 1, CHUNK, torch.Generator().manual_seed(4))
        weights = torch.zeros(1, TIME, dtype=torch.float64)
        for fork in forks:
            weights[0, fork.start : fork.stop] = weigh(rollout, logprobs.detach(), fork.start)
        nothing = torch.zeros(1, TIME, dtype=torch.float64)
        loss = omniopd_loss(logprobs[None], nothing, weights, nothing.bool()).total
        total = total + logprobs.detach().sum().exp() * loss
    [gradient] = torch.autograd.grad(total, logits)
    return gradient


def paper(rollout: tuple[int, ...], logprobs: Tensor, start: int) -> float:
    """π̂ against a teacher that always writes the same; texts agree exactly or not at all."""
    prior = float(chunk_probability(logprobs[start : start + CHUNK]))
    k = 10.0 * (rollout[start : start + CHUNK] == (1, 0))
    [target] = fork_targets([ForkEvidence(0, rollout[start : start + CHUNK], k, 10, prior)])
    return float(target.weights[0])


def confidence(rollout: tuple[int, ...], logprobs: Tensor, start: int) -> float:
    return float(chunk_probability(logprobs[start : start + CHUNK]))


@pytest.mark.parametrize("scheduler", ["early", "random", "causal"])
def test_a_constant_weight_teaches_nothing_on_average(scheduler):
    constant = expected_gradient(language(), scheduler, lambda *_: 0.7)
    assert float(constant.abs().max()) < 1e-9
    assert float(expected_gradient(language(), scheduler, paper).abs().max()) > 1e-2


def test_a_scheduler_that_sees_the_whole_rollout_makes_even_a_constant_weight_pull():
    """Which fork is the peak depends on entropies after it, so on the very tokens that the weight then raises."""
    other = language(3)  # in the first language the first token is every rollout's peak
    assert float(expected_gradient(other, "peak", lambda *_: 0.7).norm()) > 0.1
    assert float(expected_gradient(other, "causal", lambda *_: 0.7).norm()) < 1e-9


def test_the_students_own_confidence_sharpens_without_a_teacher():
    """π̄ alone: at one token per chunk the expected gradient is that of −½ Σ π², which grows as the student sharpens."""
    logits = torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    log_p = logits.log_softmax(-1)
    prior = torch.stack([chunk_probability(log_p[v : v + 1]) for v in range(3)]).double()
    loss = -(log_p.detach().exp() * prior * log_p).sum()
    [gradient] = torch.autograd.grad(loss, logits)
    [sharpening] = torch.autograd.grad(-0.5 * (logits.softmax(-1) ** 2).sum(), logits)
    torch.testing.assert_close(gradient, sharpening, rtol=1e-5, atol=1e-7)
    sharper = logits.detach() - 0.1 * gradient
    assert float(token_entropy(sharper)) < float(token_entropy(logits.detach()))


def test_confidence_pulls_on_whole_rollouts_too():
    assert float(expected_gradient(language(), "early", confidence).abs().max()) > 1e-2


# ── fork labels ──────────────────────────────────────────────────────────────────────────────────────────────────────

STUDENT = torch.tensor([0.6, -0.3, 0.2], dtype=torch.float64)
TEACHER = torch.tensor([0.1, 0.7, 0.2], dtype=torch.float64)


def forward_kl_gradient(teacher: Tensor, student_logits: Tensor) -> Tensor:
    logits = student_logits.clone().requires_grad_()
    loss = (teacher * (teacher.log() - logits.log_softmax(-1))).sum()
    return torch.autograd.grad(loss, logits)[0]


def label_gradient(labels: dict[int, float], student_logits: Tensor) -> Tensor:
    logits = student_logits.clone().requires_grad_()
    loss = sum((-w * logits.log_softmax(-1)[token] for token, w in labels.items()), logits.sum() * 0)
    return torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_fork_labels_are_an_unbiased_forward_kl(samples):
    expected = torch.zeros(3, dtype=torch.float64)
    for texts in itertools.product(range(3), repeat=samples):
        chance = TEACHER[list(texts)].prod()
        evidence = ForkEvidence(0, (0,), 0.0, samples, 0.5, tuple((token,) for token in texts))
        expected += chance * label_gradient(next_token_labels(evidence)[0], STUDENT)
    torch.testing.assert_close(expected, forward_kl_gradient(TEACHER, STUDENT))


def test_deeper_labels_are_that_forward_kl_times_the_chance_that_a_text_still_agrees():
    """At offset 1, after the student's own token: an unbiased direction where there is a label, silence elsewhere."""
    after = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)  # the teacher, after the student's token 1
    expected = torch.zeros(3, dtype=torch.float64)
    for texts in itertools.product(itertools.product(range(3), range(3)), repeat=2):
        chance = torch.stack([TEACHER[a] * after[b] for a, b in texts]).prod()
        evidence = ForkEvidence(0, (1, 0), 0.0, 2, 0.5, texts)
        expected += chance * label_gradient(next_token_labels(evidence, depth=2)[1], STUDENT)
    some_text_agrees = 1 - (1 - TEACHER[1]) ** 2
    torch.testing.assert_close(expected, some_text_agrees * forward_kl_gradient(after, STUDENT))


def test_labels_rest_at_the_teachers_distribution_and_a_mean_similarity_at_its_mode():
    """The caution about every target that is linear in E[φ], here with exact similarity."""
    as_teacher = TEACHER.log()
    torch.testing.assert_close(forward_kl_gradient(TEACHER, as_teacher), torch.zeros(3, dtype=torch.float64))
    logits = as_teacher.clone().requires_grad_()
    for _ in range(400):
        expected_share = (logits.softmax(-1) * TEACHER).sum()
        [gradient] = torch.autograd.grad(-expected_share, logits)
        logits = (logits - 5 * gradient).detach().requires_grad_()
    assert float(logits.detach().softmax(-1)[1]) > 0.99
