"""How unsure a distribution is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def token_entropy(logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch"]:
    """H = −Σ p log p over the full vocabulary, in nats and float32 (README, row (f)).

    A truncated vocabulary underestimates the tail and selects other forks. Holds (batch × vocab):
    `models.token_stats` computes the same without.
    """
    log_p = torch.log_softmax(logits.float(), dim=-1)
    # A token of probability 0 contributes 0, where 0 · −∞ would be NaN.
    return -(log_p.exp() * log_p.clamp(min=torch.finfo(torch.float32).min)).sum(-1)
