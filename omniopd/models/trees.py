"""Which models let us write who sees whom, and how they want to be told. Knows no text and no tokens."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor, nn

from omniopd.models.cache import sees_all
from omniopd.models.decoding import accepted_inputs


def supports_trees(model: nn.Module) -> bool:
    """Whether every layer sees all earlier tokens through a mask that we may write, and positions are ours to give."""
    own_mask = model.config._attn_implementation in ("sdpa", "eager")
    return own_mask and sees_all(model) and "position_ids" in accepted_inputs(model)


def tree_mask(model: nn.Module, sees: Bool[Tensor, "batch 1 query key"]) -> Shaped[Tensor, "batch 1 query key"]:
    """`sees` in the form that the model's attention takes. A query that sees nothing would be NaN."""
    if model.config._attn_implementation == "sdpa":
        return sees
    dtype = next(model.parameters()).dtype
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, torch.finfo(dtype).min)
