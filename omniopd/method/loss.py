"""The objective (README, row (h)): trust-weighted log-likelihood on audited chunks, an anchor on the other tokens.

L = ( Σ_chunks w_t · −log π_θ(y_t) + Σ_labels p_v · −log π_θ(v) + β Σ_anchored KL(π_ref ‖ π_θ) ) / normaliser

Both terms share one constant normaliser, so that their relative weight is the paper's and the step does not depend on
how long the rollouts of a batch happen to be. The loss is linear in the per-token log-probabilities and divergences:
`loss_coefficients` are its coefficients, which `models.token_stats` applies without ever holding (tokens × vocabulary).
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float

from omniopd.method.arrays import Array, detached


@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """`total` is `chunk` + `anchor`; all three in nats, already divided by the normaliser."""

    total: Float[Array, ""]
    chunk: Float[Array, ""]
    anchor: Float[Array, ""]


@dataclass(frozen=True, slots=True, eq=False)
class LossCoefficients:
    """L = Σ chunk · −log π(y) + Σ anchor · KL (+ the labels' part, which `models.token_stats` adds)."""

    chunk: Float[Array, "*batch time"]
    anchor: Float[Array, "*batch time"]


def loss_coefficients(
    weights: Float[Array, "*batch time"],
    anchored: Bool[Array, "*batch time"],
    anchor_weight: float,
    normaliser: float,
) -> LossCoefficients:
    """What each token's terms are multiplied by. `weights` are per token, 0 outside chunks; detached."""
    return LossCoefficients(detached(weights) / normaliser, anchored * (anchor_weight / normaliser))


def omniopd_loss(
    logprobs: Float[Array, "*batch time"],
    anchor_kl: Float[Array, "*batch time"],
    weights: Float[Array, "*batch time"],
    anchored: Bool[Array, "*batch time"],
    anchor_weight: float = 0.1,
    normaliser: float = 1.0,
) -> Loss:
    """The objective from per-token values: `logprobs` of the sampled tokens, KL(π_ref ‖ π_θ) at each position.

    Tokens that carry no coefficient may hold anything finite. `normaliser`: rollouts of the global batch × a fixed
    length. Labels are no part of it: their log-probabilities are of other tokens (`models.token_stats`).
    """
    c = loss_coefficients(weights, anchored, anchor_weight, normaliser)
    chunk = -(c.chunk * logprobs).sum()
    anchor = (c.anchor * anchor_kl).sum()
    return Loss(chunk + anchor, chunk, anchor)
