"""The one place that draws tokens: each row by its own counter, whatever else is in the batch.

A draw is the inverse of the cumulative distribution at one uniform number, made from (row seed, position) by a hash. It
depends on that seed and on the distribution, never on a global generator or on how rows were batched (rounding apart:
another batch may change a logit in its last bits). Knows models as functions from ids to logits, and no text.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from omniopd.models.architecture.probing import context_length, evaluating
from omniopd.models.architecture.reading import Way, left_padded, next_logits, way_of
from omniopd.models.batching import packed

__all__ = ["Sampling", "advanced", "choose", "context_length", "continue_ids", "row_seed", "uniforms"]

# Logits turned into cumulative sums at a time, so that a large vocabulary does not need gigabytes in float64.
_DRAW_NUMBERS = 32_000_000
_STRIDE = 0x9E3779B97F4A7C15  # of splitmix64
# Share of a batch's lines that must still be going, or the ended ones are dropped from it.
_WORTH_KEEPING = 0.75

# Numbers of rows, and the logits that each row's next token is drawn from: (row × vocabulary).
Watch = Callable[[list[int], Tensor], None]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a distribution is sharpened before a draw. Temperature 0: the argmax; top_p 1, top_k 0: no change."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


def row_seed(*parts: int | str) -> int:
    """A stable 64-bit hash of numbers and strings: the same on every machine and in every process."""
    digest = hashlib.blake2b(json.dumps(parts, ensure_ascii=True).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def uniforms(seeds: Sequence[int] | NDArray[np.uint64], position: int) -> NDArray[np.float64]:
    """One number in [0, 1) per seed for its draw number `position`: the splitmix64 stream that starts at the seed."""
    steps = np.array((position + 1) * _STRIDE % 2**64, dtype=np.uint64)
    state = np.asarray(seeds, dtype=np.uint64) + steps
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    # The 53 upper bits: every such number is exact in float64 and below 1.
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def advanced(seeds: Sequence[int], place: int) -> list[int]:
    """The seeds whose draw number i is draw number `place` + i of these."""
    return [(seed + place * _STRIDE) % 2**64 for seed in seeds]


def uniforms_along(seeds: Sequence[int], places: int) -> NDArray[np.float64]:
    """`uniforms` of the first draws of each seed: (place × seed)."""
    strides = np.arange(places, dtype=np.uint64)[:, None] * np.uint64(_STRIDE)  # modulo 2^64, as all of it
    return uniforms(np.asarray(seeds, dtype=np.uint64) + strides, 0)


def choose(
    logits: Float[Tensor, "node vocab"], numbers: Float[Tensor, "node draw"], sampling: Sampling
) -> Int[Tensor, "node draw"]:
    """The tokens at `numbers` of each node's cumulative distribution, several draws per node."""
    if sampling.temperature == 0:
        return logits.argmax(-1, keepdim=True).expand(numbers.shape)
    rows = max(1, _DRAW_NUMBERS // logits.shape[-1])
    return torch.cat(
        [_inverse(part, number, sampling) for part, number in zip(logits.split(rows), numbers.split(rows), strict=True)]
    )


def continue_ids(
    model: nn.Module,
    prefixes: Sequence[Sequence[int]],
    seeds: Sequence[int],
    max_tokens: int | Sequence[int],
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    eos_ids: Sequence[int],
    pad_id: int = 0,
    batch_tokens: int = 65536,
    watch: Watch | None = None,
) -> list[list[int]]:
    """Each prefix (not empty) continued by its own seed until an end token, which is included, or `max_tokens`.

    `batch_tokens` bounds rows × (prefix + new tokens) of what is in memory at once. Rows with the same prefix share its
    forward pass; rows that have ended leave the batch. Results are in the order of the prefixes. `watch`
    sees every distribution that a token is drawn from, before it is sharpened.
    """
    limits = [max_tokens] * len(prefixes) if isinstance(max_tokens, int) else list(max_tokens)
    found: list[list[int]] = [[] for _ in prefixes]
    stops, how = frozenset(eos_ids), Sampling(temperature, top_p, top_k)
    way = way_of(model)
    with evaluating(model):
        for rows in _batches(prefixes, limits, batch_tokens, way.padded):
            batch = _Rows([prefixes[r] for r in rows], [seeds[r] for r in rows], [limits[r] for r in rows])
            seen = None if watch is None else partial(_seen, watch, rows)
            for row, ids in zip(rows, _decode(model, way, batch, stops, pad_id, how, seen), strict=True):
                found[row] = ids
    return found


def _seen(watch: Watch, rows: Sequence[int], own: list[int], logits: Tensor) -> None:
    watch([rows[place] for place in own], logits)


@dataclass(frozen=True, slots=True)
class _Rows:
    prefixes: list[Sequence[int]]
    seeds: list[int]
    limits: list[int]


def _decode(
    model: nn.Module,
    way: Way,
    rows: _Rows,
    eos_ids: frozenset[int],
    pad_id: int,
    sampling: Sampling,
    watch: Watch | None,
) -> list[list[int]]:
    device = next(model.parameters()).device
    distinct = {prefix: place for place, prefix in enumerate(dict.fromkeys(map(tuple, rows.prefixes)))}
    ids, mask = left_padded(list(distinct), pad_id, device)
    logits, cache = next_logits(model, ids, mask, way.empty_cache(model))
    # `line[i]` is the line of the batch that `alive[i]`, a row, goes on from: at first the one of its prefix.
    alive = np.array([row for row, limit in enumerate(rows.limits) if limit > 0], dtype=np.int64)
    line = torch.tensor([distinct[tuple(rows.prefixes[row])] for row in alive], device=device, dtype=torch.long)
    seeds, limits = np.array(rows.seeds, dtype=np.uint64), np.array(rows.limits)
    stops = np.array(sorted(eos_ids), dtype=np.int64)
    found: list[list[int]] = [[] for _ in rows.prefixes]
    position = 0
    while alive.size:
        numbers = torch.from_numpy(uniforms(seeds[alive], position)).unsqueeze(-1)
        chosen = logits[line]
        if watch is not None:
            watch(alive.tolist(), chosen)
        drawn = choose(chosen, numbers, sampling).squeeze(-1)
        tokens = drawn.cpu().numpy()
        for row, token in zip(alive.tolist(), tokens.tolist(), strict=True):
            found[row].append(token)
        position += 1
        kept = np.flatnonzero(~np.isin(tokens, stops) & (limits[alive] > position))
        if not kept.size:
            break
        kept_lines = torch.from_numpy(kept).to(device)
        alive, line, drawn = alive[kept], line[kept_lines], drawn[kept_lines]
        # First the prefixes' lines are spread over the rows; later the lines of ended rows are dropped, not at once:
        # that copies the cache.
        if position == 1 or alive.size < _WORTH_KEEPING * mask.shape[0]:
            cache.reorder_cache(line)
            mask = mask[line]
            line = torch.arange(alive.size, device=device)
        mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], dim=1)
        ids = mask.new_full((mask.shape[0], 1), pad_id)
        ids[line, 0] = drawn
        logits, cache = next_logits(model, ids, mask, cache)
    return found


def _inverse(logits: Tensor, numbers: Tensor, sampling: Sampling) -> Tensor:
    # Float64 so that a sum over a large vocabulary keeps its small terms; Apple's devices have none.
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = logits.softmax(-1).to(wide)
    if sampling.top_p < 1:
        probabilities = _nucleus(probabilities, sampling.top_p)
    cumulative = probabilities.cumsum(-1)
    targets = numbers.to(cumulative) * cumulative[:, -1:]
    # The first token whose sum exceeds the number: one of probability 0 never does.
    return torch.searchsorted(cumulative, targets.contiguous(), right=True).clamp(max=logits.shape[-1] - 1)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """The smallest set of likeliest tokens that holds `top_p`; the others get 0."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    outside[:, 0] = False
    return probabilities.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), 0.0)


def _batches(
    prefixes: Sequence[Sequence[int]], limits: Sequence[int], batch_tokens: int, padded: bool
) -> Iterator[list[int]]:
    """Rows by length, equal prefixes side by side, so that little is padded and nothing is read twice; prefixes of one
    length to a batch where none may be `padded`."""
    order = sorted(
        (0 if padded else len(prefix), len(prefix) + limit, tuple(prefix), row)
        for row, (prefix, limit) in enumerate(zip(prefixes, limits, strict=True))
    )
    batches = packed(
        order, lambda rows: rows[-1][1] * len(rows) if rows[0][0] == rows[-1][0] else math.inf, batch_tokens
    )
    return ([row for *_, row in batch] for batch in batches)
