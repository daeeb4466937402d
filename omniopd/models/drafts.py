"""What a model would write at every place of a text that stands already: one forward in place of a text at each.

The draws are those of `decoding`: the token at a place is what decoding from there would draw first by the same
counter. Knows no teacher.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omniopd.models.architecture.backbone import head_of
from omniopd.models.architecture.probing import evaluating
from omniopd.models.batching import packed
from omniopd.models.chunked_stats import Head, finish_logits, rows_of_a_tile
from omniopd.models.decoding import Sampling, choose, uniforms_along
from omniopd.models.token_stats import response_hidden


@dataclass(frozen=True, slots=True)
class Draft:
    """A text behind `prompt`, both as ids and not empty, and a seed for every draw that is wanted at its places."""

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    seeds: tuple[int, ...]


@torch.no_grad()
def next_tokens(
    model: nn.Module, drafts: Sequence[Draft], sampling: Sampling, batch_tokens: int = 65536
) -> list[NDArray[np.int64]]:
    """For every draft an array (draw × place): the token drawn behind the draft's first u tokens by counter u of the
    draw's seed. Raises ConfigError for a model whose logits are not understood."""
    found: dict[int, NDArray[np.int64]] = {}
    with evaluating(model):
        for rows in _batches(drafts, batch_tokens):
            some = [drafts[row] for row in rows]
            ids, mask, width = _padded(some, next(model.parameters()).device)
            hidden = response_hidden(model, ids, mask, width)[mask[:, -width:].bool()]
            numbers = torch.from_numpy(np.concatenate([uniforms_along(d.seeds, len(d.ids)) for d in some]))
            drawn = _drawn(hidden, head_of(model), numbers.to(hidden.device), sampling).cpu().numpy()
            ends = np.cumsum([len(draft.ids) for draft in some])[:-1]
            found |= dict(zip(rows, (part.T for part in np.split(drawn, ends)), strict=True))
    return [found[row] for row in range(len(drafts))]


def _drawn(hidden: Tensor, head: Head, numbers: Tensor, sampling: Sampling) -> Tensor:
    """(place × draw), a tile of places × vocabulary at a time."""
    rows, tiles = rows_of_a_tile(hidden.device, len(head.weight)), []
    for states, of_tile in zip(hidden.split(rows), numbers.split(rows), strict=True):
        logits = torch.mm(states, head.weight.to(states.dtype).t())
        finish_logits(logits, head)
        tiles.append(choose(logits, of_tile, sampling))
    return torch.cat(tiles)


def _padded(drafts: Sequence[Draft], device: torch.device) -> tuple[Tensor, Tensor, int]:
    """Prompts end and drafts begin in one column; ids, mask, columns of the drafts."""
    before, width = max(len(d.prompt) for d in drafts), max(len(d.ids) for d in drafts)
    ids = torch.zeros(len(drafts), before + width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for line, draft in enumerate(drafts):
        whole = torch.tensor((*draft.prompt, *draft.ids))
        start = before - len(draft.prompt)
        ids[line, start : start + len(whole)] = whole
        mask[line, start : start + len(whole)] = 1
    return ids.to(device), mask.to(device), width


def _batches(drafts: Sequence[Draft], batch_tokens: int) -> Iterator[list[int]]:
    def padded(rows: Sequence[int]) -> int:
        return len(rows) * (max(len(drafts[r].prompt) for r in rows) + max(len(drafts[r].ids) for r in rows))

    return packed(sorted(range(len(drafts)), key=lambda r: (len(drafts[r].ids), r)), padded, batch_tokens)
