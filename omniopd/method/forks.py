"""Where a rollout is audited. Every scheduler gives chunks that start at their fork, fit, and never overlap.

Knows entropies only. A rollout shorter than a chunk has no fork; when fewer than M chunks fit, fewer are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omniopd.errors import ConfigError
from omniopd.types import Fork

# What a teacher of another tokenizer writes beyond a chunk, so that the chunk's last word is whole.
SPARE_TOKENS = 4


def teacher_tokens(chunk_tokens: int, tokens_per_student_token: float) -> int:
    """How many tokens a teacher is asked for where the student wrote `chunk_tokens`; a ratio of 1 means that the two
    have the same tokenizer."""
    if tokens_per_student_token == 1:
        return chunk_tokens
    return math.ceil(chunk_tokens * tokens_per_student_token) + SPARE_TOKENS


def peak_forks(
    entropies: Float[Tensor, " time"],
    forks: int = 10,
    chunk_tokens: int = 50,
    allowed: Bool[Tensor, " time"] | None = None,
) -> list[Fork]:
    """The paper's: greedily the highest entropy whose chunk is free (paper.md §4). Ascending by start.

    Of equal entropies the later position wins. `allowed` rules positions out (inside a character, say).
    """
    values = entropies.tolist()
    by_entropy = sorted(range(len(values)), key=lambda t: (values[t], t), reverse=True)
    return _greedy(by_entropy, values, forks, chunk_tokens, allowed)


def random_forks(
    entropies: Float[Tensor, " time"],
    forks: int = 10,
    chunk_tokens: int = 50,
    generator: torch.Generator | None = None,
    allowed: Bool[Tensor, " time"] | None = None,
) -> list[Fork]:
    """As many non-overlapping chunks in random places: "without entropy selection" at the same price.

    Without a `generator` the places are always the same ones.
    """
    generator = generator or torch.Generator().manual_seed(0)
    order = torch.randperm(len(entropies), generator=generator).tolist()
    return _greedy(order, entropies.tolist(), forks, chunk_tokens, allowed)


def early_forks(
    entropies: Float[Tensor, " time"],
    forks: int = 10,
    chunk_tokens: int = 50,
    allowed: Bool[Tensor, " time"] | None = None,
) -> list[Fork]:
    """One chunk after the other from the first token on."""
    return _greedy(range(len(entropies)), entropies.tolist(), forks, chunk_tokens, allowed)


def causal_forks(
    entropies: Float[Tensor, " time"],
    forks: int = 10,
    chunk_tokens: int = 50,
    deviations: float = 0.5,
    allowed: Bool[Tensor, " time"] | None = None,
) -> list[Fork]:
    """The first M entropies that stand out from those before them; could be decided while the student writes.

    Position t is a fork when its entropy is above the mean of all earlier ones by `deviations` of their standard
    deviations. The first two positions have no past to stand out from. A chunk that runs over the end is dropped.
    """
    values = entropies.double()
    count = torch.arange(1, len(values) + 1, dtype=torch.float64)
    mean = values.cumsum(0) / count
    spread = ((values**2).cumsum(0) / count - mean**2).clamp(min=0).sqrt()
    threshold = torch.full_like(values, torch.inf)
    threshold[2:] = (mean + deviations * spread)[1:-1]
    standing_out = torch.nonzero(values > threshold).flatten().tolist()
    return _greedy(standing_out, entropies.tolist(), forks, chunk_tokens, allowed)


def schedule(
    name: str,
    entropies: Float[Tensor, " time"],
    forks: int,
    chunk_tokens: int,
    generator: torch.Generator | None = None,
    allowed: Bool[Tensor, " time"] | None = None,
) -> list[Fork]:
    """The forks of the named scheduler: peak, random, early or causal. `generator` is for `random`."""
    if name == "random":
        return random_forks(entropies, forks, chunk_tokens, generator, allowed)
    if name not in _SCHEDULERS:
        raise ConfigError(f"audit.scheduler is {name!r}: it must be one of random, {', '.join(_SCHEDULERS)}")
    return _SCHEDULERS[name](entropies, forks, chunk_tokens, allowed=allowed)


def _greedy(
    order: range | list[int], entropies: list[float], forks: int, chunk_tokens: int, allowed: Tensor | None
) -> list[Fork]:
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens is {chunk_tokens}: a chunk has at least one token")
    chosen: list[int] = []
    for t in order:
        if len(chosen) == forks:
            break
        fits = t + chunk_tokens <= len(entropies)
        free = all(abs(t - u) >= chunk_tokens for u in chosen)
        if fits and free and (allowed is None or bool(allowed[t])):
            chosen.append(t)
    return [Fork(t, t + chunk_tokens, entropies[t]) for t in sorted(chosen)]


_SCHEDULERS: dict[str, Callable[..., list[Fork]]] = {"peak": peak_forks, "early": early_forks, "causal": causal_forks}
