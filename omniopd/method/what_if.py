"""The posterior of recorded similarities under another α or a smaller N: a twin of `posterior.py` without torch.

Lists of floats in, numbers out, nothing is asked of anybody. The posterior plot computes the same in the browser, and
its tests compare with these functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from omniopd.records import Posterior


@dataclass(frozen=True, slots=True)
class SubsampleSpread:
    """π̂ over all sub-samples of the texts at hand: mean and standard deviation over them, the least and the most."""

    mean: float
    deviation: float
    low: float
    high: float


def posterior_of(
    similarities: Sequence[float], prior: float, concentration: float = 1.0, samples: int | None = None
) -> Posterior:
    """The paper's nominal Beta of N texts, its mean exactly π̂ = (k + α π̄) / (N + α).

    With fewer `samples` than texts at hand: k is what a sub-sample of that size has on average.
    """
    n = len(similarities) if samples is None else samples
    k = n * sum(similarities) / len(similarities) if similarities else 0.0
    agree = k + concentration * prior
    return Posterior(agree, n + concentration - agree)


def shares(samples: int, concentration: float) -> tuple[float, float]:
    """What the data and the prior each contribute to π̂: N / (N + α) and α / (N + α)."""
    total = samples + concentration
    return samples / total, concentration / total


def spread_interval_of(
    similarities: Sequence[float],
    prior: float,
    concentration: float = 1.0,
    samples: int | None = None,
    mass: float = 0.95,
) -> tuple[float, float]:
    """`posterior.spread_interval` from a list; with fewer `samples`, what so many texts would leave on average.

    The whole [0, 1] for fewer than two; clipped to [0, 1].
    """
    n = len(similarities) if samples is None else samples
    if n < 2:
        return 0.0, 1.0
    from scipy.special import stdtrit

    mean, deviation = _moments(similarities)
    margin = float(stdtrit(n - 1, 0.5 + mass / 2)) * deviation / math.sqrt(n)
    data, own = shares(n, concentration)
    centre = data * mean + own * prior
    return max(0.0, centre - data * margin), min(1.0, centre + data * margin)


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
    data, own = shares(samples, concentration)
    ordered = sorted(similarities)

    def smoothed(share: float) -> float:
        return data * share + own * prior

    return SubsampleSpread(
        smoothed(mean),
        data * deviation * math.sqrt((1 - samples / at_hand) / samples),
        smoothed(sum(ordered[:samples]) / samples),
        smoothed(sum(ordered[-samples:]) / samples),
    )


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n − 1); a single value has none."""
    mean = sum(values) / len(values)
    squares = sum((v - mean) ** 2 for v in values)
    return mean, math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else 0.0
