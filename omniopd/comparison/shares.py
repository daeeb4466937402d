"""How large one mean is beside another, with an interval: which share of a rise a control keeps. Knows numbers only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from omniopd.errors import DataError
from omniopd.evaluation.compare import MASS


@dataclass(frozen=True, slots=True)
class Share:
    """mean(part) / mean(whole), and the shares that the data allow; from −∞ to ∞ where `whole` may be 0."""

    value: float
    low: float
    high: float
    mass: float
    units: int

    def __str__(self) -> str:
        if not math.isfinite(self.low):
            return "no share can be told (the rise itself may be 0)"
        return f"{100 * self.value:.0f}% [{100 * self.low:.0f}, {100 * self.high:.0f}]"


def share(part: Sequence[float], whole: Sequence[float], mass: float = MASS) -> Share:
    """The ratio of two means over the same units, with Fieller's interval (1954).

    It holds every s for which Student's t test, over the units, does not tell part − s · whole from 0: pairs stay
    pairs, and a small or doubtful `whole` widens it as it must, which a ratio taken unit by unit would not. Raises
    DataError for fewer than two pairs.
    """
    p, w = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    if p.shape != w.shape or p.size < 2 or not np.isfinite([p, w]).all():
        raise DataError(f"a share needs two or more pairs of finite values, not {p.size} beside {w.size}")
    reach = float(stats.t.ppf((1 + mass) / 2, p.size - 1)) ** 2 / p.size
    covariance = np.cov(p, w)
    # mean(p − s w)² ≤ reach · var(p − s w), as a s² − 2 b s + c ≤ 0
    a = w.mean() ** 2 - reach * covariance[1, 1]
    b = p.mean() * w.mean() - reach * covariance[0, 1]
    c = p.mean() ** 2 - reach * covariance[0, 0]
    if a <= 1e-15:
        value = float(p.mean() / w.mean()) if w.mean() else math.nan
        return Share(value, -math.inf, math.inf, mass, p.size)
    root = math.sqrt(max(0.0, b * b - a * c))
    return Share(float(p.mean() / w.mean()), float((b - root) / a), float((b + root) / a), mass, p.size)
