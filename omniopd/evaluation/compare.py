"""How sure a measured accuracy is, and what the difference between two shows.

Problems are the units where one model is measured; seeds are the units where a method is judged (method_notes §5).
Shares in [0, 1]; sentences speak of points (hundredths). Knows records and numbers only; every draw is seeded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import stats

from omniopd.errors import DataError
from omniopd.records import EvalRecord

MASS = 0.95
RESAMPLES = 10_000
MARGIN = 0.03  # what "not worse" allows
METHODS = ("bca", "percentile", "t")
ALIKE = 1e-9  # what rounding leaves between equal shares; unequal ones are one answer apart, far more


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where it may lie with probability `mass`. It rests on `units` independent values, each a `unit`.

    `equal`: all of them were the same, so that nothing shows how much another would differ: no verdict rests on it.
    Its ends are then an exact bound, or NaN where values have none; NaN also for a single unit.
    """

    mean: float
    low: float
    high: float
    mass: float
    units: int
    unit: str = "value"
    equal: bool = False

    @property
    def undetermined(self) -> str:
        """Why nothing can be concluded, in a few words; "" where something can."""
        if self.units < 2:
            return f"one {self.unit}"
        return f"all {self.units} {self.unit}s came out equal" if self.equal else ""

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{100 * self.mean:.1f} [no interval: {self.undetermined}]"
        return f"{100 * self.mean:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def mean_interval(
    values: Sequence[float],
    mass: float = MASS,
    method: str = "bca",
    resamples: int = RESAMPLES,
    seed: int = 0,
    unit: str = "value",
) -> Interval:
    """The mean of independent values and its interval.

    "percentile" and "bca" are the bootstrap's (Efron 1987; the acceleration of a mean is known exactly), "t" is
    Student's. Values that are all the same have no interval here. Raises DataError for fewer than two values.
    """
    if method not in METHODS:
        raise DataError(f"method is {method!r}: it must be one of {', '.join(METHODS)}")
    if not 0 < mass < 1:
        raise DataError(f"mass is {mass}: it must be between 0 and 1")
    x = np.asarray(values, dtype=np.float64)
    if x.size < 2 or not np.isfinite(x).all():
        raise DataError(f"an interval needs two or more finite values, not {list(values)[:5]}")
    mean = float(x.mean())
    if np.ptp(x) < ALIKE:
        return Interval(mean, math.nan, math.nan, mass, x.size, unit, equal=True)
    if method == "t":
        reach = float(stats.t.ppf((1 + mass) / 2, x.size - 1) * x.std(ddof=1) / math.sqrt(x.size))
        return Interval(mean, mean - reach, mean + reach, mass, x.size, unit)
    means = _bootstrap_means(x, resamples, seed)
    tails = np.array([(1 - mass) / 2, (1 + mass) / 2])
    low, high = np.quantile(means, _bca_tails(x, means, tails) if method == "bca" else tails)
    return Interval(mean, float(low), float(high), mass, x.size, unit)


def accuracy_interval(record: EvalRecord) -> Interval:
    """The accuracy of an evaluation with an interval over its problems. Raises DataError for none."""
    values = [problem.right / problem.samples for problem in record.problems]
    return share_interval(values)


def share_interval(shares: Sequence[float]) -> Interval:
    """The mean of shares in [0, 1], problem by problem; without ends for one problem. DataError for none."""
    return _over_problems(shares, 0.0)


def paired_difference(after: EvalRecord, before: EvalRecord) -> Interval:
    """Accuracy of `after` minus that of `before`, problem by problem: what they share does not blur it.

    Raises DataError, naming the first problem that only one of them has.
    """
    ours, theirs = after.per_problem, before.per_problem
    for here, there, where in ((ours, theirs, _called(before)), (theirs, ours, _called(after))):
        only = next((problem for problem in here if problem not in there), None)
        if only is not None:
            raise DataError(
                f"problem {only!r} is missing from the evaluation of {where}: compare evaluations of the same problems "
                "(same task, split and limit)"
            )
    return difference_interval([ours[p] - theirs[p] for p in ours])


def difference_interval(differences: Sequence[float], resamples: int = RESAMPLES) -> Interval:
    """The mean of differences in [-1, 1], problem by problem; without ends for one problem. DataError for none."""
    return _over_problems(differences, -1.0, resamples)


def seed_interval(values: Sequence[float]) -> Interval:
    """Student's t interval with runs of different seeds as units. Raises DataError for fewer than two."""
    return mean_interval(values, method="t", unit="seed")


def pooled_interval(values: Float[np.ndarray, "seed problem"], difference: bool = True) -> Interval:
    """The mean of shares, or of differences of shares, with seeds as units where they show a spread.

    Few seeds on few problems come out equal by chance, and then say nothing about the next one: the problems do, each
    at its mean over the seeds. Ends stay within what can be.
    """
    least = -1.0 if difference else 0.0
    if len(values) > 1:
        interval = seed_interval(values.mean(axis=1).tolist())
        if not interval.equal:
            return replace(interval, low=max(least, interval.low), high=min(1.0, interval.high))
        if values.shape[1] < 2:
            return interval
    return _over_problems(values.mean(axis=0).tolist(), least)


def best_temperature(records: Iterable[EvalRecord]) -> EvalRecord:
    """The evaluation of highest accuracy, of several that differ in temperature (the lowest one of a tie).

    Chosen and reported on the same problems, so a little too high; the same for whatever it is compared with.
    """
    ordered = sorted(records, key=lambda record: record.temperature)
    if not ordered:
        raise DataError("no evaluations to choose the best temperature from: evaluate at one temperature at least")
    return max(ordered, key=lambda record: record.accuracy)


def verdict(interval: Interval, margin: float = MARGIN) -> str:
    """What the interval of a difference shows, in one sentence; "not worse" only above -margin."""
    ends = "" if math.isnan(interval.low) else f" [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    said = f"{100 * interval.mean:+.1f} points{ends}: {shows(interval, margin)}"
    lower = f" (the lower bound is above {-100 * margin:g} points)"
    return said + lower * said.endswith("; not worse")


def shows(interval: Interval, margin: float = MARGIN) -> str:
    """`verdict` in a few words, without numbers."""
    if interval.undetermined:
        return f"undetermined ({interval.undetermined})"
    if interval.low > 0:
        return "better"
    if interval.high < 0:
        return "worse" + (f", by less than {100 * margin:g} points" if interval.low > -margin else "")
    return "no difference shown" + ("; not worse" if interval.low > -margin else "")


def _over_problems(values: Sequence[float], least: float, resamples: int = RESAMPLES) -> Interval:
    """Values of problems, each in [`least`, 1].

    A bootstrap of a few problems, or of many that are nearly all the same, is too narrow (one-sided errors of 5 to 8%
    where 2.5% are asked for, LOG.md): each end is the farther one of its own and of Student's t, within what can be.
    """
    if len(values) == 1:
        return Interval(float(values[0]), math.nan, math.nan, MASS, 1, "problem")
    ours = mean_interval(values, resamples=resamples, unit="problem")
    if ours.equal:
        return _with_doubt(ours, least)
    wide = mean_interval(values, method="t")
    return replace(ours, low=max(least, min(ours.low, wide.low)), high=min(1.0, max(ours.high, wide.high)))


def _with_doubt(interval: Interval, least: float) -> Interval:
    """Ends for values that are all the same: another one differs with a probability of at most `other` (the exact
    binomial bound, Clopper and Pearson 1934), and then by as much as values in [`least`, 1] can."""
    other = 1 - ((1 - interval.mass) / 2) ** (1 / interval.units)
    low, high = ((1 - other) * interval.mean + other * end for end in (least, 1.0))
    return replace(interval, low=low, high=high)


def _bootstrap_means(x: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    # Drawing how often each distinct value comes is drawing the values, and shares have few distinct ones.
    distinct, counts = np.unique(x, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(x.size, counts / x.size, size=resamples)
    return np.asarray(drawn @ distinct / x.size)


def _bca_tails(x: np.ndarray, means: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """The quantiles that correct for bias and skew. Half of the ties with the mean count as below it."""
    mean = x.mean()
    below = (np.sum(means < mean - 1e-12) + 0.5 * np.sum(np.abs(means - mean) <= 1e-12)) / means.size
    bias = stats.norm.ppf(min(max(below, 0.5 / means.size), 1 - 0.5 / means.size))
    apart = x - mean
    acceleration = np.sum(apart**3) / (6 * np.sum(apart**2) ** 1.5)
    z = bias + stats.norm.ppf(tails)
    return np.asarray(stats.norm.cdf(bias + z / (1 - acceleration * z)))


def _called(record: EvalRecord) -> str:
    return f"{record.model} at step {record.step}, temperature {record.temperature:g}"
