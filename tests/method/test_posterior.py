"""Facts about how far a chunk is trusted."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniopd.method.posterior import (
    chunk_probability,
    nominal_posterior,
    posterior_kl,
    posterior_label_weights,
    posterior_mean,
    shares,
    spread_interval,
    subsample_spread,
)
from omniopd.records import Posterior

quick = settings(deadline=None, max_examples=50, derandomize=True)
unit = st.floats(0, 1)


def mean_of(k: float, n: int, prior: float, concentration: float = 1.0) -> float:
    return float(posterior_mean(torch.tensor(k), n, torch.tensor(prior), concentration))


@pytest.mark.parametrize(
    ("soft_count", "prior", "expected"),
    [(0.0, 0.5, 0.0454545), (3.2, 0.5, 0.3363636), (5.0, 0.6, 0.5090909), (10, 1, 1)],
)
def test_the_papers_values_at_10_samples(soft_count, prior, expected):
    assert math.isclose(mean_of(float(soft_count), 10, float(prior)), expected, abs_tol=1e-7)


def test_no_samples_leave_the_prior_and_endless_ones_the_frequency():
    assert math.isclose(mean_of(0.0, 0, 0.7), 0.7, rel_tol=1e-6)
    assert math.isclose(mean_of(3e6, 10**7, 0.9), 0.3, abs_tol=1e-6)


def test_without_concentration_it_is_the_frequency_and_with_endless_the_prior():
    assert math.isclose(mean_of(3.0, 10, 0.9, 0.0), 0.3, rel_tol=1e-6)
    assert math.isclose(mean_of(3.0, 10, 0.9, 1e9), 0.9, abs_tol=1e-6)


@quick
@given(st.integers(1, 50), unit, st.floats(1e-6, 1), st.floats(0.01, 20))
def test_it_mixes_frequency_and_prior_and_is_never_nothing(n, share, prior, concentration):
    found = mean_of(share * n, n, prior, concentration)
    mixed = n / (n + concentration) * share + concentration / (n + concentration) * prior
    assert math.isclose(found, mixed, rel_tol=1e-5, abs_tol=1e-7)
    assert 0 < concentration * prior / (n + concentration) * (1 - 1e-5) <= found <= 1 + 1e-6


def test_the_batch_means_obey_the_papers_identity():
    draw = torch.Generator().manual_seed(0)
    k, prior = 10 * torch.rand(64, generator=draw), torch.rand(64, generator=draw)
    left = posterior_mean(k, 10, prior, 1.5).mean()
    torch.testing.assert_close(left, (k.mean() + 1.5 * prior.mean()) / (10 + 1.5))


def test_a_target_has_no_gradient():
    logprobs = torch.log(torch.tensor([0.5, 0.25])).requires_grad_()
    prior = chunk_probability(logprobs)
    target = posterior_mean(torch.tensor(3.0, requires_grad=True), 10, prior)
    assert not prior.requires_grad
    assert not target.requires_grad


def test_it_broadcasts_and_takes_counts_of_any_number_type():
    counts = torch.tensor([0, 5, 10])
    found = posterior_mean(counts, 10, torch.tensor(0.5), 1.0)
    torch.testing.assert_close(found, torch.tensor([0.5, 5.5, 10.5]) / 11)
    per_fork = posterior_mean(counts, torch.tensor([10, 5, 20]), torch.full((3,), 0.5))
    torch.testing.assert_close(per_fork, torch.tensor([0.5 / 11, 5.5 / 6, 10.5 / 21]))


# ── the prior ────────────────────────────────────────────────────────────────────────────────────────────────────────


@quick
@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8))
def test_the_chunk_probability_is_the_geometric_mean(probabilities):
    slow = math.prod(probabilities) ** (1 / len(probabilities))
    found = float(chunk_probability(torch.tensor([math.log(p) for p in probabilities])))
    assert math.isclose(found, slow, rel_tol=1e-4)


def test_the_chunk_probability_survives_chunks_whose_product_does_not():
    logprobs = torch.full((2, 3, 500), -4.0)
    assert float(logprobs[0, 0].exp().prod()) == 0
    torch.testing.assert_close(chunk_probability(logprobs), torch.full((2, 3), math.exp(-4)))


def test_an_impossible_token_makes_an_impossible_chunk():
    assert float(chunk_probability(torch.tensor([-1.0, -torch.inf]))) == 0


# ── for display ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_nominal_beta_has_the_target_as_its_mean():
    for k, prior in ((0.0, 0.5), (3.2, 0.5), (5.0, 0.6), (10.0, 1.0)):
        assert math.isclose(nominal_posterior([k / 10] * 10, prior).mean, mean_of(k, 10, prior), rel_tol=1e-6)
    assert nominal_posterior((), 0.3, 2.0).mean == pytest.approx(0.3)


def test_the_nominal_interval_at_k_7_of_10():
    low, high = Posterior(7, 3).interval(0.95)
    assert math.isclose(low, 0.400, abs_tol=0.001)
    assert math.isclose(high, 0.925, abs_tol=0.001)
    assert Posterior(10, 0).interval() == (1, 1)


def test_the_spread_of_the_similarities_says_how_sure_their_mean_is():
    tight = torch.full((10,), 0.7) + torch.tensor([0.01, -0.01] * 5)
    low, high = spread_interval(tight.tolist(), prior=0.7)
    nominal_low, nominal_high = Posterior.of(7, 10, 0.7).interval()
    assert high - low < 0.05 * (nominal_high - nominal_low) / 0.5 < nominal_high - nominal_low
    assert math.isclose((low + high) / 2, mean_of(7.0, 10, 0.7), abs_tol=1e-6)


def test_the_spread_interval_holds_the_expected_target_as_often_as_it_says():
    """k is a sum of bounded similarities: 95% of the intervals hold (Nμ + απ̄) / (N + α)."""
    draw = torch.Generator().manual_seed(0)
    expected = (10 * 0.5 + 0.3) / 11
    held = 0
    for _ in range(400):
        low, high = spread_interval(torch.rand(10, generator=draw).tolist(), prior=0.3)
        held += low <= expected <= high
    assert 0.92 <= held / 400 <= 0.98


def test_one_similarity_says_nothing_about_its_spread_and_intervals_stay_in_0_to_1():
    assert spread_interval([0.4], 0.5) == (0, 1)
    assert spread_interval([], 0.5) == (0, 1)
    low, high = spread_interval([0.0, 1.0], 0.5)
    assert (low, high) == (0, 1)


@pytest.mark.parametrize("samples", [1, 2, 4, 5])
def test_the_spread_over_sub_samples_is_that_of_all_of_them(samples):
    values, prior, alpha = [0.1, 0.9, 0.4, 0.7, 0.75], 0.6, 1.5
    every = [nominal_posterior(some, prior, alpha).mean for some in itertools.combinations(values, samples)]
    found = subsample_spread(values, samples, prior, alpha)
    assert found.mean == pytest.approx(statistics.mean(every))
    assert found.deviation == pytest.approx(statistics.pstdev(every))
    assert (found.low, found.high) == pytest.approx((min(every), max(every)))
    assert nominal_posterior(values, prior, alpha, samples).mean == pytest.approx(found.mean)
    assert sum(shares(samples, alpha)) == pytest.approx(1)


def test_a_sub_sample_is_no_larger_than_what_is_at_hand():
    with pytest.raises(ValueError, match="1 to 2"):
        subsample_spread([0.1, 0.2], 3, 0.5)


# ── the divergence to the posterior of the teacher's next token ──────────────────────────────────────────────────────


def divergence_by_hand(logits: torch.Tensor, counts: torch.Tensor, alpha: float) -> torch.Tensor:
    """KL(π ‖ π̂) over the whole vocabulary, π̂ = (k + α π) / (N + α) held constant."""
    p = logits.softmax(-1)
    smoothed = ((counts + alpha * p) / (counts.sum() + alpha)).detach()
    return (p * (p.log() - smoothed.log())).sum()


@pytest.mark.parametrize("alpha", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("seed", range(5))
def test_label_weights_have_the_gradient_of_the_divergence_to_the_posterior_over_the_whole_vocabulary(seed, alpha):
    draw = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(12, generator=draw, dtype=torch.float64)).requires_grad_()
    texts = torch.multinomial(torch.rand(12, generator=draw), 8, replacement=True, generator=draw)
    counts = texts.bincount(minlength=12)
    expected = divergence_by_hand(logits, counts.double(), alpha)
    [slow] = torch.autograd.grad(expected, logits)

    seen = counts.nonzero().squeeze(-1)  # the tokens that a text began with, alone
    logprobs = logits.log_softmax(-1)[seen]
    weights = posterior_label_weights(counts[seen], logprobs, alpha)
    [fast] = torch.autograd.grad(-(weights * logprobs).sum(), logits)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(posterior_kl(counts[seen].double(), weights, alpha), expected.detach())
    assert (weights <= counts[seen] / alpha).all()


def test_with_many_texts_the_divergence_is_that_to_the_teacher_itself():
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, generator=draw, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    counts = 1e9 * teacher.exp()
    found = posterior_kl(counts, posterior_label_weights(counts, student, 1.0))
    torch.testing.assert_close(found, (student.exp() * (student - teacher)).sum(), rtol=1e-6, atol=1e-6)


def test_a_student_that_the_texts_confirm_or_that_nobody_was_asked_about_has_nothing_to_learn():
    logprobs = torch.tensor([0.25, 0.75]).log()
    agreed = torch.tensor([2.0, 6.0])
    weights = posterior_label_weights(agreed, logprobs)
    torch.testing.assert_close(weights / weights.sum(), logprobs.exp())  # the direction in which nothing changes
    torch.testing.assert_close(posterior_kl(agreed, weights), torch.tensor(0.0), rtol=0, atol=1e-6)
    nobody = torch.zeros(2)
    assert posterior_label_weights(nobody, logprobs).tolist() == [0, 0]
    assert float(posterior_kl(nobody, nobody)) == 0
    assert torch.isfinite(posterior_label_weights(agreed, torch.tensor([-200.0, 0.0]))).all()
