"""How far to trust a chunk: the evidence of the samples, smoothed by the student's own confidence (paper.md §2b–e)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn.functional import softplus

from omniopd.records import Posterior


def chunk_probability(logprobs: Float[Tensor, "*batch chunk"]) -> Float[Tensor, "*batch"]:
    """π̄: the geometric mean of the chunk's token probabilities, in log space (paper.md §2d). Detached.

    It is not the probability of the chunk (the product); it lies on the scale of one token.
    """
    return logprobs.detach().float().mean(-1).exp()


def posterior_mean(
    soft_counts: Num[Tensor, "*#batch"],
    samples: Num[Tensor, "*#batch"] | int,
    priors: Float[Tensor, "*#batch"],
    concentration: float = 1.0,
) -> Float[Tensor, "*batch"]:
    """π̂ = (k + α π̄) / (N + α), in [0, 1] (paper.md §2e). Broadcasts; detached, because a target has no gradient.

    No samples: the prior. α = 0: the frequency k / N.
    """
    evidence = soft_counts.detach() + concentration * priors.detach()
    return (evidence / (samples + concentration)).float()


def posterior_label_weights(
    counts: Num[Tensor, "*batch label"], logprobs: Float[Tensor, "*batch label"], concentration: float = 1.0
) -> Float[Tensor, "*batch label"]:
    """w_v = π_v log(1 + k_v / (α π_v)): with these weights on −log π_v descends what descends KL(π ‖ π̂).

    π̂(v) = (k_v + α π_v) / (N + α) is §2e once more, with counts of next tokens for every token of the vocabulary. In
    the divergence a token that no text begins with costs π_v times the constant log((N + α) / α), so that only tokens
    with a count need be visited. `logprobs` are log π_v of the model that is to learn. Detached; 0 for a count of 0;
    at most k_v / α, whatever the student thinks.
    """
    counts, logprobs = counts.detach().to(logprobs.dtype), logprobs.detach()
    ratio = counts.log() - math.log(concentration) - logprobs
    return torch.where(counts > 0, logprobs.exp() * softplus(ratio), 0.0)


def posterior_kl(
    counts: Num[Tensor, "*batch label"], weights: Float[Tensor, "*batch label"], concentration: float = 1.0
) -> Float[Tensor, "*batch"]:
    """KL(π ‖ π̂) in nats, from counts and their `posterior_label_weights`: log((N + α) / α) − Σ w; 0 without counts."""
    return (torch.log1p(counts.sum(-1) / concentration) - weights.sum(-1)).clamp(min=0)


def nominal_posterior(soft_count: float, samples: int, prior: float, concentration: float = 1.0) -> Posterior:
    """The Beta whose mean is π̂: pseudo-counts k + α π̄ for the chunk, the rest of N + α against it."""
    agree = soft_count + concentration * prior
    return Posterior(agree, samples + concentration - agree)


def spread_interval(
    similarities: Float[Tensor, " continuation"], prior: float, concentration: float = 1.0, mass: float = 0.95
) -> tuple[float, float]:
    """The interval of π̂ that the spread of the N similarities supports: Student's t around their mean, shrunk as π̂ is.

    The whole [0, 1] for fewer than two samples; clipped to [0, 1].
    """
    n = len(similarities)
    if n < 2:
        return 0.0, 1.0
    from scipy.stats import t

    values = similarities.double()
    error = float(values.std(unbiased=True)) / math.sqrt(n)
    margin = float(t.ppf(0.5 + mass / 2, n - 1)) * error
    shrink = n / (n + concentration)
    centre = shrink * float(values.mean()) + (1 - shrink) * prior
    return max(0.0, centre - shrink * margin), min(1.0, centre + shrink * margin)


def mean_soft_share(soft_counts: Float[Tensor, " fork"], samples: Num[Tensor, " fork"]) -> float:
    """Mean of k / N over forks; NaN without forks."""
    return float((soft_counts / samples).mean()) if len(soft_counts) else float("nan")
