"""How far to trust a chunk: the evidence of the samples, smoothed by the student's confidence (README, rows (b)–(e)).

For tensors and for plain numbers alike. From `nominal_posterior` on it is for display: nothing is asked of a teacher,
and the posterior plot computes the same in the browser (tests/widgets/test_posterior_arithmetic.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Num

from omniopd.method.arrays import Array, detached, namespace
from omniopd.records import Posterior


def chunk_probability(logprobs: Float[Array, "*batch chunk"]) -> Float[Array, "*batch"]:
    """π̄: the geometric mean of the chunk's token probabilities, in log space (README, row (d)). Detached; tensors only.

    It is not the probability of the chunk (the product); it lies on the scale of one token.
    """
    return logprobs.detach().float().mean(-1).exp()


def posterior_mean(
    soft_counts: Num[Array, "*#batch"] | float,
    samples: Num[Array, "*#batch"] | int,
    priors: Float[Array, "*#batch"] | float,
    concentration: float = 1.0,
) -> Array:
    """π̂ = (k + α π̄) / (N + α), in [0, 1] (README, row (e)). Broadcasts; detached, because a target has no gradient.

    No samples: the prior. α = 0: the frequency k / N.
    """
    return (detached(soft_counts) + concentration * detached(priors)) / (samples + concentration)


def posterior_label_weights(
    counts: Num[Array, "*batch label"], logprobs: Float[Array, "*batch label"], concentration: float = 1.0
) -> Float[Array, "*batch label"]:
    """w_v = π_v log(1 + k_v / (α π_v)): with these weights on −log π_v descends what descends KL(π ‖ π̂).

    π̂(v) = (k_v + α π_v) / (N + α) is §2e once more, with counts of next tokens for every token of the vocabulary. In
    the divergence a token that no text begins with costs π_v times the constant log((N + α) / α), so that only tokens
    with a count need be visited. `logprobs` are log π_v of the model that is to learn. Detached; 0 for a count of 0;
    at most k_v / α, whatever the student thinks.
    """
    xp, logprobs = namespace(logprobs), detached(logprobs)
    counts = xp.asarray(detached(counts), dtype=logprobs.dtype)
    ratio = xp.log(counts) - math.log(concentration) - logprobs
    softplus = xp.nn.functional.softplus(ratio) if hasattr(xp, "nn") else xp.logaddexp(0.0, ratio)
    return xp.where(counts > 0, xp.exp(logprobs) * softplus, 0.0)


def posterior_kl(
    counts: Num[Array, "*batch label"], weights: Float[Array, "*batch label"], concentration: float = 1.0
) -> Float[Array, "*batch"]:
    """KL(π ‖ π̂) in nats, from counts and their `posterior_label_weights`: log((N + α) / α) − Σ w; 0 without counts."""
    xp = namespace(weights)
    return xp.clip(xp.log1p(counts.sum(-1) / concentration) - weights.sum(-1), 0, None)


def nominal_posterior(
    similarities: Sequence[float], prior: float, concentration: float = 1.0, samples: int | None = None
) -> Posterior:
    """The paper's nominal Beta of N texts; its mean is π̂.

    With fewer `samples` than texts at hand: k is what a sub-sample of that size has on average.
    """
    n = len(similarities) if samples is None else samples
    k = n * sum(similarities) / len(similarities) if similarities else 0.0
    return Posterior.of(k, n, prior, concentration)


def shares(samples: int, concentration: float) -> tuple[float, float]:
    """What the data and the prior each contribute to π̂: N / (N + α) and α / (N + α)."""
    total = samples + concentration
    return samples / total, concentration / total


def spread_interval(
    similarities: Sequence[float],
    prior: float,
    concentration: float = 1.0,
    samples: int | None = None,
) -> tuple[float, float]:
    """95 % of π̂ as the spread of the N similarities supports it: Student's t around their mean, shrunk as π̂ is.

    With fewer `samples`, what so many texts would leave on average. The whole [0, 1] for fewer than two; clipped to
    [0, 1].
    """
    n = len(similarities) if samples is None else samples
    if n < 2:
        return 0.0, 1.0
    from scipy.special import stdtrit

    mean, deviation = _moments(similarities)
    data, _ = shares(n, concentration)
    margin = data * float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
    centre = posterior_mean(n * mean, n, prior, concentration)
    return max(0.0, centre - margin), min(1.0, centre + margin)


@dataclass(frozen=True, slots=True)
class SubsampleSpread:
    """π̂ over all sub-samples of the texts at hand: mean and standard deviation over them, the least and the most."""

    mean: float
    deviation: float
    low: float
    high: float


def subsample_spread(
    similarities: Sequence[float], samples: int, prior: float, concentration: float = 1.0
) -> SubsampleSpread:
    """How π̂ would have differed had only `samples` of the texts at hand been asked for, over every choice of them.

    In closed form: the mean of n values drawn from N without replacement has the variance s² / n · (1 − n / N).
    Raises ValueError for fewer than one or more than there are.
    """
    at_hand = len(similarities)
    if not 1 <= samples <= at_hand:
        raise ValueError(f"a sub-sample of {samples} texts out of {at_hand}: take 1 to {at_hand}")
    mean, deviation = _moments(similarities)
    data, _ = shares(samples, concentration)
    ordered = sorted(similarities)
    return SubsampleSpread(
        posterior_mean(samples * mean, samples, prior, concentration),
        data * deviation * math.sqrt((1 - samples / at_hand) / samples),
        posterior_mean(sum(ordered[:samples]), samples, prior, concentration),
        posterior_mean(sum(ordered[-samples:]), samples, prior, concentration),
    )


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n − 1); a single value has none."""
    mean = sum(values) / len(values)
    squares = sum((v - mean) ** 2 for v in values)
    return mean, math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else 0.0
