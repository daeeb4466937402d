"""What an audit found, in numbers and tokens, and what it becomes: the input and the output of every target.

A token is anything with an identity: an id in training, its piece of text where a record is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omniopd.method.arrays import Array, namespace


@dataclass(frozen=True, slots=True)
class ForkEvidence:
    """One audited fork. `rollout` tells the rollouts of the global batch apart; `prior` is π̄.

    `continuation_ids` are the teacher's texts in student tokens (None: not usable as tokens). `redraw_share` is the
    mean similarity of K redraws by the student from the same fork with the same texts (the same-fork baseline).
    """

    rollout: int
    chunk_ids: tuple[Hashable, ...]
    soft_count: float
    samples: int
    prior: float
    continuation_ids: tuple[tuple[Hashable, ...] | None, ...] = ()
    redraw_share: float | None = None

    @property
    def share(self) -> float:
        return self.soft_count / self.samples


@dataclass(frozen=True, slots=True, eq=False)
class ForkTarget:
    """What a fork does to the loss: `weights` per token of the chunk, detached. `labels[j]` maps tokens to weights at
    offset j of the chunk (empty: none), under a target of counts to counts.

    `label_nll` is what the labels cost, per offset, where a record tells.
    """

    weights: Array
    labels: tuple[Mapping[Any, float], ...] = ()
    label_nll: tuple[float, ...] = ()


def other_rollouts_mean(scores: Array, rollout: Sequence[int]) -> Array:
    """For each fork (a row; a column is an offset) the mean score of the forks of *other* rollouts; 0 without any.

    Forks of one rollout are not independent (a later chunk depends on an earlier one), so they are no baseline for
    each other. NaN is a missing score and counts for nothing.
    """
    xp = namespace(scores)
    owner = xp.asarray(list(rollout))
    other = xp.asarray(owner[:, None] != owner[None, :], dtype=scores.dtype)
    known = xp.asarray(~xp.isnan(scores), dtype=scores.dtype)
    return other @ xp.nan_to_num(scores) / xp.clip(other @ known, 1, None)


def agreement_through(fork: ForkEvidence, xp: Any) -> Array:
    """Share of the teacher's texts that agree with the chunk through each offset; non-increasing. 0 without tokens."""
    return surviving([shared(ids, fork.chunk_ids) for ids in _usable(fork)], len(fork.chunk_ids), xp)


def surviving(reached: Sequence[int], length: int, xp: Any) -> Array:
    """Of texts that agree with a chunk through `reached` tokens each, the share that still does at every offset."""
    alive = xp.zeros(length)
    for end in reached:
        alive[:end] += 1
    return alive / max(1, len(reached))


def credit(alive: Array) -> Array:
    """What a token's agreement is worth: Σ over later offsets of the share that agrees through them."""
    xp = namespace(alive)
    return xp.flip(xp.flip(alive, (0,)).cumsum(0), (0,))


def next_token_counts(fork: ForkEvidence, depth: int = 1) -> tuple[dict[Any, float], ...]:
    """How often the teacher wrote each token at each offset below `depth`, over the texts that agree so far."""
    counts = (
        Counter(ids[at] for ids in _usable(fork) if len(ids) > at and shared(ids, fork.chunk_ids) >= at)
        for at in range(min(depth, len(fork.chunk_ids)))
    )
    return tuple({token: float(n) for token, n in sorted(count.items(), key=_rank)} for count in counts)


def next_token_labels(fork: ForkEvidence, depth: int = 1) -> tuple[dict[Any, float], ...]:
    """The teacher's empirical next-token distributions: `next_token_counts` as shares of their sum.

    With the student's tokenizer N texts are N samples of the teacher's next token, so at offset 0 the cross-entropy to
    them is an unbiased forward KL (up to a constant), without the noise of a policy gradient. With another tokenizer
    they are samples of its next word, cut as the student's tokenizer cuts words.
    """
    return tuple(
        {token: n / sum(counts.values()) for token, n in counts.items()} for counts in next_token_counts(fork, depth)
    )


def shared(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Length of the common beginning."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def _usable(fork: ForkEvidence) -> list[tuple[Hashable, ...]]:
    return [ids for ids in fork.continuation_ids if ids is not None]


def _rank(item: tuple[Any, int]) -> tuple[bool, Any]:
    """Tokens of a record are texts, or tuples for half a character and the end of a turn."""
    return isinstance(item[0], tuple), item[0]
