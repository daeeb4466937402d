"""Where a rollout is audited. Every scheduler gives chunks that start at their fork, fit, and never overlap.

Knows entropies only. A rollout shorter than a chunk has no fork; when fewer than M chunks fit, fewer are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from omniopd.method.registry import Choice, Registry

Permutation = Callable[[int], Sequence[int]]  # draws an order of so many things, each equally likely

# What a teacher of another tokenizer writes beyond a chunk, so that the chunk's last word is whole.
SPARE_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Scheduler(Choice):
    """`order` lists positions of a rollout, the most wanted first, from its entropies; one that `draws` may draw a
    permutation, one for each rollout in turn."""

    order: Callable[[Sequence[float], Permutation], Iterable[int]]
    draws: bool = False


def teacher_tokens(chunk_tokens: int, tokens_per_student_token: float) -> int:
    """How many tokens a teacher is asked for where the student wrote `chunk_tokens`; a ratio of 1 means that the two
    have the same tokenizer."""
    if tokens_per_student_token == 1:
        return chunk_tokens
    return math.ceil(chunk_tokens * tokens_per_student_token) + SPARE_TOKENS


def chunk_starts(
    order: Iterable[int], length: int, forks: int, chunk_tokens: int, allowed: Sequence[bool] | None = None
) -> list[int]:
    """Greedily the first `forks` positions of `order` whose chunk fits and is free, ascending. `allowed` rules
    positions out (inside a character, say)."""
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens is {chunk_tokens}: a chunk has at least one token")
    chosen: list[int] = []
    for t in order:
        if len(chosen) == forks:
            break
        fits = t + chunk_tokens <= length
        free = all(abs(t - u) >= chunk_tokens for u in chosen)
        if fits and free and (allowed is None or allowed[t]):
            chosen.append(t)
    return sorted(chosen)


FORK_NATS = 0.5  # about that of a choice between 80% and 20%: below it a student hardly hesitates


@dataclass(frozen=True, slots=True)
class MovedForks:
    """Tokens of one text, ascending: where both of two students hesitate, only the first, only the second."""

    kept: tuple[int, ...]
    vanished: tuple[int, ...]
    appeared: tuple[int, ...]


def moved_forks(before: Sequence[float], after: Sequence[float], nats: float = FORK_NATS) -> MovedForks:
    """What became of the forks of a text between two students, by their entropies (nats) of its tokens.

    One hesitates where it has `nats` or more. Such a fork has vanished where the other has less than half of that, so
    that one at the threshold does not come and go by chance; it appeared where the other is the first, and is kept
    elsewhere. What is missing (NaN) is none of them.
    """
    pairs = list(enumerate(zip(before, after, strict=True)))
    return MovedForks(
        tuple(t for t, (a, b) in pairs if (a >= nats or b >= nats) and a >= nats / 2 and b >= nats / 2),
        tuple(t for t, (a, b) in pairs if a >= nats and b < nats / 2),
        tuple(t for t, (a, b) in pairs if b >= nats and a < nats / 2),
    )


def by_entropy(entropies: Sequence[float], _: Permutation) -> list[int]:
    """The paper's: the highest entropy first (README, row (g)). Of equal entropies the later position wins."""
    return sorted(range(len(entropies)), key=lambda t: (entropies[t], t), reverse=True)


def standing_out(entropies: Sequence[float], _: Permutation, deviations: float = 0.5) -> Iterable[int]:
    """The entropies that stand out from those before them, in order; could be decided while the student writes.

    Position t is a fork when its entropy is above the mean of all earlier ones by `deviations` of their standard
    deviations. The first two positions have no past to stand out from. A chunk that runs over the end is dropped.
    """
    total = squares = 0.0
    for t, value in enumerate(entropies):
        if t >= 2:
            mean = total / t
            spread = math.sqrt(max(0.0, squares / t - mean * mean))
            if value > mean + deviations * spread:
                yield t
        total, squares = total + value, squares + value * value


SCHEDULERS = Registry(
    "audit.scheduler",
    Scheduler("peak", "where the student hesitated most", by_entropy),
    Scheduler("random", "anywhere: without choice by entropy, at the same price", lambda h, draw: draw(len(h)), True),
    Scheduler("early", "one chunk after the other from the first token on", lambda h, draw: range(len(h))),
    Scheduler("causal", "where entropy stands out from what came before it", standing_out),
)
