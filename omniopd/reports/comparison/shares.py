"""How large one mean is beside another, with an interval: which share of a rise a control keeps. Knows numbers only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from omniopd.errors import DataError
from omniopd.evaluation.compare import ALIKE, MASS


@dataclass(frozen=True, slots=True)
class Share:
    """mean(part) / mean(whole), and the shares that the data allow; from −∞ to ∞ where `whole` may be 0."""

    value: float
    low: float
    high: float
    mass: float
    units: int
    unit: str = "value"
    equal: bool = False  # part is the same share of whole in every unit: nothing shows how much another would differ

    @property
    def undetermined(self) -> str:
        """Why nothing can be concluded, in a few words; "" where the data say something."""
        if self.units < 2:
            return f"one {self.unit}"
        return f"all {self.units} {self.unit}s came out equal" if self.equal else ""

    def __str__(self) -> str:
        if self.undetermined:
            return f"no share can be told ({self.undetermined})"
        if not math.isfinite(self.low):
            return "no share can be told (the gain itself may be 0)"
        return f"{100 * self.value:.0f}% [{100 * self.low:.0f}, {100 * self.high:.0f}]"


def share(part: Sequence[float], whole: Sequence[float], unit: str = "value") -> Share:
    """The ratio of two means over the same units, with Fieller's interval (1954).

    It holds every s for which Student's t test, over the units, does not tell part − s · whole from 0: pairs stay
    pairs, and a small or doubtful `whole` widens it as it must, which a ratio taken unit by unit would not. Raises
    DataError for fewer than two pairs.
    """
    p, w = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    if p.shape != w.shape or p.size < 2 or not np.isfinite([p, w]).all():
        raise DataError(f"a share needs two or more pairs of finite values, not {p.size} beside {w.size}")
    value = _ratio(p, w)
    if np.ptp(p - (value if math.isfinite(value) else 0.0) * w) < ALIKE:
        return Share(value, math.nan, math.nan, MASS, p.size, unit, equal=True)
    reach = float(stats.t.ppf((1 + MASS) / 2, p.size - 1)) ** 2 / p.size
    covariance = np.cov(p, w)
    # mean(p − s w)² ≤ reach · var(p − s w), as a s² − 2 b s + c ≤ 0
    a = w.mean() ** 2 - reach * covariance[1, 1]
    b = p.mean() * w.mean() - reach * covariance[0, 1]
    c = p.mean() ** 2 - reach * covariance[0, 0]
    if a <= 1e-15:
        return Share(value, -math.inf, math.inf, MASS, p.size, unit)
    root = math.sqrt(max(0.0, b * b - a * c))
    return Share(value, float((b - root) / a), float((b + root) / a), MASS, p.size, unit)


def pooled_share(part: Float[np.ndarray, "seed problem"], whole: Float[np.ndarray, "seed problem"]) -> Share:
    """`share` with seeds as units where they differ; elsewhere problems, each at its mean over the seeds."""
    if len(part) > 1:
        found = share(part.mean(axis=1).tolist(), whole.mean(axis=1).tolist(), "seed")
        if not found.equal or part.shape[1] < 2:
            return found
    if part.shape[1] < 2:
        return Share(_ratio(part, whole), math.nan, math.nan, MASS, 1, "problem")
    return share(part.mean(axis=0).tolist(), whole.mean(axis=0).tolist(), "problem")


def _ratio(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.mean() / whole.mean()) if whole.mean() else math.nan
