"""The method as training and Python callers use it: tensors in and out, draws by a torch generator.

Adds no equation: each function hands over to the module that has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omniopd.errors import ConfigError
from omniopd.method import targets
from omniopd.method.evidence import ForkEvidence, ForkTarget
from omniopd.method.forks import SCHEDULERS, Permutation, chunk_starts
from omniopd.method.similarity import Compare, characters, exact, rouge1, tokens
from omniopd.types import Fork, Similarity


def permutations(generator: torch.Generator | None) -> Permutation:
    """Orders of so many things, drawn by `generator` (None: torch's own)."""
    return lambda count: torch.randperm(count, generator=generator).tolist()


def schedule(
    name: str,
    entropies: Float[Tensor, " time"],
    forks: int = 10,
    chunk_tokens: int = 50,
    generator: torch.Generator | None = None,
    allowed: Bool[Tensor, " time"] | None = None,
) -> list[Fork]:
    """The forks of the named scheduler, ascending. Without a `generator` random places are always the same ones."""
    values = entropies.tolist()
    order = SCHEDULERS[name].order(values, permutations(generator or torch.Generator().manual_seed(0)))
    places = None if allowed is None else allowed.tolist()
    return [
        Fork(t, t + chunk_tokens, values[t]) for t in chunk_starts(order, len(values), forks, chunk_tokens, places)
    ]


def peak_forks(
    entropies: Float[Tensor, " time"],
    forks: int = 10,
    chunk_tokens: int = 50,
    allowed: Bool[Tensor, " time"] | None = None,
) -> list[Fork]:
    """The paper's: greedily the highest entropy whose chunk is free (README, row (g)). Ascending by start.

    Of equal entropies the later position wins. `allowed` rules positions out (inside a character, say).
    """
    return schedule("peak", entropies, forks, chunk_tokens, allowed=allowed)


def fork_targets(
    evidence: Sequence[ForkEvidence],
    target: str = "paper",
    control: str = "none",
    concentration: float = 1.0,
    depth: int = 1,
    generator: torch.Generator | None = None,
) -> list[ForkTarget]:
    """The named target of every fork. `generator` draws the permutation of the control `shuffled`."""
    return targets.targets_of_forks(evidence, target, control, concentration, depth, permutations(generator), torch)


def in_tensors(compare: Compare) -> Similarity:
    """A similarity of plain lists as one of tensors."""

    def similarity(chunk: str, continuations: Sequence[str]) -> Float[Tensor, " continuation"]:
        return torch.tensor(compare(chunk, continuations), dtype=torch.float32)

    return similarity


def edit_similarity(chunk: str, continuations: Sequence[str]) -> Float[Tensor, " continuation"]:
    """`similarity.characters` as a tensor."""
    return in_tensors(characters)(chunk, continuations)


def token_edit_similarity(chunk: str, continuations: Sequence[str]) -> Float[Tensor, " continuation"]:
    """`similarity.tokens` as a tensor."""
    return in_tensors(tokens)(chunk, continuations)


def rouge1_similarity(chunk: str, continuations: Sequence[str]) -> Float[Tensor, " continuation"]:
    """`similarity.rouge1` as a tensor."""
    return in_tensors(rouge1)(chunk, continuations)


def exact_similarity(chunk: str, continuations: Sequence[str]) -> Float[Tensor, " continuation"]:
    """`similarity.exact` as a tensor."""
    return in_tensors(exact)(chunk, continuations)


def powered(similarity: Similarity, power: float) -> Similarity:
    """φ to a power above 0: keeps the order and both ends, and lets near misses count for less."""
    if not power > 0:
        raise ConfigError(f"audit.power is {power}: it must be above 0 (1 leaves the similarity as it is)")
    if power == 1:
        return similarity

    def raised(chunk: str, continuations: Sequence[str]) -> Float[Tensor, " continuation"]:
        return similarity(chunk, continuations) ** power

    return raised
