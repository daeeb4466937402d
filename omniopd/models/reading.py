"""Logits of the next token, by the best way that a model allows: padded or not, with a cache or by reading all again.

The ways are tried on the model once (`way_of`); the first that gives the logits of plain rows is taken. Knows no draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from omniopd.errors import ConfigError
from omniopd.models.cache import Reread, roomy_cache, selects_tokens
from omniopd.models.probing import accepted_inputs, bare, kind, measured, plain_logits, row, same, texts, works


@dataclass(frozen=True, slots=True)
class Way:
    """`padded`: rows of several lengths in one batch. `cache`: one of ours ("roomy"), the model's own ("own"), or none
    ("none": the text is read again for every token)."""

    padded: bool
    cache: str

    def empty_cache(self, model: nn.Module) -> Any:
        """What `next_logits` begins with."""
        return {"roomy": roomy_cache, "own": lambda _: None, "none": lambda _: Reread()}[self.cache](model)


_WAYS = tuple(Way(padded, cache) for cache, padded in product(("roomy", "own", "none"), (True, False)))
# Names of the argument that carries a cache of transformers', whose rows can be chosen.
_CACHES = ("past_key_values", "cache_params")


def way_of(model: nn.Module) -> Way:
    """The fastest way that is right for this model. Raises ConfigError where none is."""
    way = _first_right(model)
    if way is None:
        raise ConfigError(
            f"models of type {kind(bare(model))} cannot be continued token by token: what they say of a token changes "
            "with what follows it, or they need more than text; choose another model"
        )
    return way


def next_logits(
    model: nn.Module, ids: Int[Tensor, "batch column"], mask: Int[Tensor, "batch length"], cache: Any
) -> tuple[Tensor, Any]:
    """Logits of the last column, and the cache that now holds all columns."""
    accepted = accepted_inputs(model)
    rereads = isinstance(cache, Reread)
    if rereads:
        ids = cache.add(ids)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    name = next((name for name in _CACHES if name in accepted), None)
    if not rereads and name is not None:
        inputs[name] = cache
        if name == "cache_params" and cache is not None:
            del inputs["attention_mask"]  # a state has its padding behind it
    if "use_cache" in accepted:
        inputs["use_cache"] = not rereads
    if "position_ids" in accepted:
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    if "logits_to_keep" in accepted:
        inputs["logits_to_keep"] = 1
    out = model(**inputs)
    return out.logits[:, -1], cache if rereads or name is None else out[name]


def left_padded(prefixes: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask of prefixes that end in one column."""
    longest = max(map(len, prefixes))
    ids = torch.full((len(prefixes), longest), pad_id, dtype=torch.long)
    mask = torch.zeros(len(prefixes), longest, dtype=torch.long)
    for line, prefix in enumerate(prefixes):
        ids[line, longest - len(prefix) :] = torch.tensor(list(prefix))
        mask[line, longest - len(prefix) :] = 1
    return ids.to(device), mask.to(device)


@measured
def _first_right(model: nn.Module) -> Way | None:
    ways = _WAYS[-1:] if selects_tokens(model) else _WAYS
    return next((way for way in ways if works(partial(_is_right, model, way))), None)


def _is_right(model: nn.Module, way: Way) -> bool:
    """Two texts are read, spread over three rows, and continued; a row is dropped, and the others go on."""
    long, short, pad = texts(model)
    first, second = long, (short if way.padded else long[::-1])
    new = [*short, *long][:8]
    cache = way.empty_cache(model)
    if cache is None and way.cache == "roomy":
        return False
    ids, mask = left_padded([first[:-3], second[:-3]], pad, next(model.parameters()).device)
    found = [next_logits(model, ids, mask, cache)]
    rows = [first[:-3], second[:-3]]
    wanted = [plain_logits(model, rows)]
    for lines, tokens in (([1, 0, 1], new[:3]), ([2, 1], new[3:5]), ([1, 0], new[5:7])):
        cache, line = found[-1][1], torch.tensor(lines, device=ids.device)
        cache.reorder_cache(line)
        mask = torch.cat([mask[line], mask.new_ones(len(lines), 1)], dim=1)
        rows = [[*rows[place], token] for place, token in zip(lines, tokens, strict=True)]
        found.append(next_logits(model, row(model, tokens).T, mask, cache))
        wanted.append(plain_logits(model, rows))
    return all(same(model, logits, plain) for (logits, _), plain in zip(found, wanted, strict=True))
