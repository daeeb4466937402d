"""The angle between a target's gradient and the true one, for as many teacher tokens as wanted, from a few batches.

A batch's gradient is μ + noise. |μ|² and μ · w come from products of *different* batches, which noise leaves unbiased;
the noise of k batches is a k-th of one's. So one set of batches says what any number of them would give, and two
targets can be compared at one price although their batches cost differently. Intervals leave one batch out at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from omniopd.evaluation.compare import MASS, Interval


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """Inner products of a target's gradients with themselves, with the true ones, and of those: [batch, batch]."""

    own: np.ndarray
    cross: np.ndarray
    true: np.ndarray

    def without(self, batch: int) -> Products:
        kept = np.delete(np.arange(len(self.own)), batch)
        return Products(*(m[np.ix_(kept, kept)] for m in (self.own, self.cross, self.true)))


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """Inner products of all gradients of all batches, [target, batch, target, batch]. A mixture weighs targets."""

    names: tuple[str, ...]
    values: np.ndarray

    @classmethod
    def of(cls, gradients: Mapping[str, Sequence[Tensor]]) -> Gram:
        flat = torch.stack([g for each in gradients.values() for g in each]).float()
        size = len(gradients)
        values = (flat @ flat.T).double().numpy().reshape(size, len(flat) // size, size, len(flat) // size)
        return cls(tuple(gradients), values)

    def products(self, ours: Mapping[str, float], true: Mapping[str, float]) -> Products:
        a, b = self._weights(ours), self._weights(true)
        pairs = ((a, a), (a, b), (b, b))
        return Products(*(np.einsum("a,aibj,b->ij", x, self.values, y) for x, y in pairs))

    def _weights(self, mixture: Mapping[str, float]) -> np.ndarray:
        return np.array([mixture.get(name, 0.0) for name in self.names])


def cosine(p: Products, batches: float = math.inf) -> float:
    """Of the mean of so many batches with the true gradient (infinitely many: of the target itself, without noise).
    NaN where the signal is lost in noise."""
    signal = _apart(p.own)
    noise = float(np.diag(p.own).mean()) - signal
    length, true = signal + noise / batches, _apart(p.true)
    return _apart(p.cross) / math.sqrt(length * true) if length > 0 and true > 0 else math.nan


def interval(of: Callable[[Callable[[Products], Products]], float], batches: int) -> Interval:
    """`of` is a figure made from products, each sent through the function that it is given."""
    whole = of(lambda p: p)
    left_out = np.array([of(lambda p, i=i: p.without(i)) for i in range(batches)])
    values = batches * whole - (batches - 1) * left_out
    error = float(values.std(ddof=1)) / math.sqrt(batches)
    reach = float(stats.t.ppf((1 + MASS) / 2, batches - 1)) * error
    return Interval(whole, whole - reach, whole + reach, MASS, batches, "batch")


def _apart(matrix: np.ndarray) -> float:
    n = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (n * (n - 1)))
