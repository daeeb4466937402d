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
from omniopd.models.architecture.cache import Reread, roomy_cache, selects_tokens
from omniopd.models.architecture.probing import (
    accepted_inputs,
    bare,
    kind,
    measured,
    plain_logits,
    row,
    same,
    texts,
    works,
)


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
    if selects_tokens(model):  # its choice hangs on how much it reads: what it says of a text is what counts
        return _WAYS[-1]
    return next((way for way in _WAYS if works(partial(_is_right, model, way))), None)


def _is_right(model: nn.Module, way: Way) -> bool:
    """Two texts are read, spread over three rows and continued; one row is dropped, and the others go on. Every row's
    logits are those of a plain reading of all that it became."""
    long, short, pad = texts(model)
    first, second = long[:-2], (short if way.padded else long[::-1])[:-2]
    new = [*long[-2:], *short[:3]]
    cache = way.empty_cache(model)
    if cache is None and way.cache == "roomy":
        return False
    ids, mask = left_padded([first, second], pad, next(model.parameters()).device)
    logits, cache = next_logits(model, ids, mask, cache)
    found = [logits]
    for lines, tokens in (([1, 0, 1], new[:3]), ([2, 1], new[3:])):
        line = torch.tensor(lines, device=ids.device)
        cache.reorder_cache(line)
        mask = torch.cat([mask[line], mask.new_ones(len(lines), 1)], dim=1)
        logits, cache = next_logits(model, row(model, tokens).T, mask, cache)
        found.append(logits)
    dropped, kept, other = (
        plain_logits(model, grown)[len(before) - 1 :]
        for before, grown in (
            (second, [*second, new[0]]), (first, [*first, new[1], new[4]]), (second, [*second, new[2], new[3]]),
        )
    )  # fmt: skip
    wanted = [(kept[0], other[0]), (dropped[1], kept[1], other[1]), (other[2], kept[2])]
    return all(same(model, logits, torch.stack(plain)) for logits, plain in zip(found, wanted, strict=True))
