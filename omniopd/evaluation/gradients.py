"""What a target asks of the student, before anything is trained: its gradient, and which way it points.

Two cosines judge a target (method_notes §4): between two halves of a batch (how much is signal), and with the gradient
of white-box distillation on the same rollouts (whether it is the right one). Knows gradients as flat vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from omniopd.errors import DataError
from omniopd.evaluation.compare import MASS, Interval, mean_interval


def flat_gradient(loss: Float[Tensor, ""], model: nn.Module) -> Float[Tensor, " parameter"]:
    """d loss / d θ over all trainable parameters, as one detached vector; 0 where the loss does not reach."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [
            torch.zeros(p.numel(), device=p.device) if g is None else g.detach().flatten()
            for p, g in zip(parameters, gradients, strict=True)
        ]
    )


def grad_cosine(a: Float[Tensor, " parameter"], b: Float[Tensor, " parameter"]) -> float:
    """Cosine of the angle between two gradients; NaN where one of them is 0 and points nowhere."""
    norm = a.double().norm() * b.double().norm()
    return float(a.double() @ b.double() / norm) if norm > 0 else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class BatchGradients:
    """A target's gradient on the two halves of one batch of rollouts."""

    first: Float[Tensor, " parameter"]
    second: Float[Tensor, " parameter"]

    @property
    def whole(self) -> Float[Tensor, " parameter"]:
        return self.first + self.second


@dataclass(frozen=True, slots=True)
class GradientReport:
    """`halves` and `direction` are means over batches, with batches as units; `mean_direction` is that of the mean
    gradient of all batches, its interval from resampling them. None: the gradient is 0."""

    halves: Interval | None
    direction: Interval | None
    mean_direction: Interval | None


def judge(
    target: Sequence[BatchGradients], white_box: Sequence[BatchGradients], mass: float = MASS, seed: int = 0
) -> GradientReport:
    """A target beside white-box distillation on the same batches. Raises DataError for fewer than two batches."""
    if len(target) != len(white_box) or len(target) < 2:
        raise DataError(f"{len(target)} batches beside {len(white_box)}: give the same two or more")
    if any(not g.whole.any() for g in target):
        return GradientReport(None, None, None)
    halves = [grad_cosine(g.first, g.second) for g in target]
    direction = [grad_cosine(g.whole, w.whole) for g, w in zip(target, white_box, strict=True)]
    return GradientReport(
        mean_interval(halves, mass, "t"),
        mean_interval(direction, mass, "t"),
        _mean_direction([g.whole for g in target], [w.whole for w in white_box], mass, seed),
    )


def _mean_direction(
    ours: list[Tensor], theirs: list[Tensor], mass: float, seed: int, resamples: int = 2000
) -> Interval:
    """cos(mean of ours, mean of theirs) and its percentile interval over resampled batches, from inner products."""
    a, b = torch.stack(ours).double(), torch.stack(theirs).double()
    own, other, cross = (a @ a.T).numpy(), (b @ b.T).numpy(), (a @ b.T).numpy()
    n = len(ours)

    def cosine(counts: np.ndarray) -> np.ndarray:
        def form(matrix: np.ndarray) -> np.ndarray:
            return np.einsum("ri,ij,rj->r", counts, matrix, counts)

        return form(cross) / np.sqrt(form(own) * form(other))

    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    low, high = np.quantile(cosine(drawn), [(1 - mass) / 2, (1 + mass) / 2])
    return Interval(float(cosine(np.ones((1, n)))[0]), float(low), float(high), mass, n)
