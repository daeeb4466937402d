"""Which models let us write who sees whom, and how they want to be told. Knows no text."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor, nn

from omniopd.models.architecture.backbone import own_hidden
from omniopd.models.architecture.cache import roomy_cache, sees_all
from omniopd.models.architecture.probing import (
    accepted_inputs,
    bare,
    measured,
    plain_logits,
    row,
    same,
    text_config,
    texts,
    works,
)

# Columns put between a tree and what it grew from: a window that no configuration tells is found up to here.
_GAP = 1024


@measured
def supports_trees(model: nn.Module) -> bool:
    """Whether every layer sees what a mask of ours lets it see, at the positions that we give: no window, no bias by
    columns, no recurrent state. Tried on a text with two endings, read at once and as two rows."""
    own_mask = bare(model).config._attn_implementation in ("sdpa", "eager")
    if not (own_mask and sees_all(model) and "position_ids" in accepted_inputs(model)):
        return False
    text, other, _ = texts(model)
    text, other = text[:6], other[:3]
    return works(lambda: _read_at_once(model, text, other) and _grown(model, text, other))


def tree_mask(model: nn.Module, sees: Bool[Tensor, "batch 1 query key"]) -> Shaped[Tensor, "batch 1 query key"]:
    """`sees` in the form that the model's attention takes. A query that sees nothing would be NaN."""
    if bare(model).config._attn_implementation == "sdpa":
        return sees
    dtype = next(model.parameters()).dtype
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, torch.finfo(dtype).min)


def _read_at_once(model: nn.Module, text: list[int], other: list[int]) -> bool:
    """`text`, and behind it `other` as another ending of its first three tokens."""
    fork, length = 3, len(text) + len(other)
    ids = row(model, text + other)
    sees = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
    sees[len(text) :, fork : len(text)] = False
    positions = torch.arange(length, device=ids.device)
    positions[len(text) :] -= len(text) - fork
    found = own_hidden(model, ids, tree_mask(model, sees[None, None]), positions[None])[0]
    first, second = row(model, text), row(model, text[:fork] + other)
    return same(model, found[: len(text)], own_hidden(model, first, torch.ones_like(first))[0]) and same(
        model, found[len(text) :], own_hidden(model, second, torch.ones_like(second))[0, fork:]
    )


def _grown(model: nn.Module, text: list[int], other: list[int]) -> bool:
    """The last token of `text` and the first of `other` side by side, on a cache of the tokens before them."""
    cache: Any = roomy_cache(model)
    trunk, fork = len(text) - 1, 3
    ids = row(model, text[:trunk])
    model(input_ids=ids, position_ids=torch.arange(trunk, device=ids.device)[None], past_key_values=cache,
          use_cache=True)  # fmt: skip
    limit = getattr(text_config(model), "max_position_embeddings", None) or _GAP
    gap = max(0, min(_GAP, limit) - trunk - 2)
    for layer in cache.layers:
        layer.update(*(states[..., :1, :].expand(*states.shape[:-2], gap, -1) for states in (layer.keys, layer.values)))
    sees = torch.zeros(2, trunk + gap + 2, dtype=torch.bool, device=ids.device)
    sees[0, :trunk], sees[1, :fork] = True, True
    sees[:, trunk + gap :] = torch.eye(2, dtype=torch.bool, device=ids.device)
    found = model(
        input_ids=row(model, [text[trunk], other[0]]), position_ids=row(model, [trunk, fork]),
        attention_mask=tree_mask(model, sees[None, None]), past_key_values=cache, use_cache=True,
    ).logits[0]  # fmt: skip
    alone = text, [*text[:fork], other[0]]
    return same(model, found, torch.stack([plain_logits(model, ids)[-1] for ids in alone]))
