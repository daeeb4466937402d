"""Which tokens of an answer a teacher labels, and what it reads and writes for that. Real draws, made-up conversations.

A label of a token is one draw from the teacher's distribution there, which is what the first token of a text is, and
every further one for as long as the text agrees. One forward of the teacher over the answers holds them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from omniopd.method.forks import SCHEDULERS, chunk_starts
from omniopd.models.decoding import Sampling, choose, row_seed, uniforms
from omniopd.types import Rollout


@dataclass(frozen=True, slots=True)
class Price:
    """Tokens that a teacher read anew, read again (an earlier call of the same answer had them), and wrote; calls."""

    read: int = 0
    cached: int = 0
    written: int = 0
    calls: int = 0

    def __add__(self, other: Price) -> Price:
        return Price(
            self.read + other.read, self.cached + other.cached, self.written + other.written, self.calls + other.calls
        )

    def tokens(self, cached: float = 1.0) -> float:
        """Read and written, a token read again counting as `cached`."""
        return self.read + cached * self.cached + self.written


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Answers laid end to end, one line per token; `labels[:, i]` is draw i of the teacher's token there, and `spread`
    its variance 1 − Σ p², which no text tells."""

    rollouts: Sequence[Rollout]
    row: Int[Tensor, " token"]
    place: Int[Tensor, " token"]
    ids: Int[Tensor, " token"]
    labels: Int[Tensor, "token draw"]
    spread: Float[Tensor, " token"]

    def lines(self, row: int) -> Tensor:
        return torch.nonzero(self.row == row).flatten()


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """How often each token was drawn at each line, and the price of asking."""

    counts: Float[Tensor, "token vocab"]
    price: Price

    @property
    def samples(self) -> Float[Tensor, " token"]:
        return self.counts.sum(-1)


def draw(rollouts: Sequence[Rollout], teacher: Float[Tensor, "token vocab"], draws: int, seed: int) -> Drawn:
    """`draws` labels at every token, each by its own counter (answer, draw, place)."""
    longest = max(map(len, rollouts))
    seeds = [[row_seed(seed, row, i) for i in range(draws)] for row in range(len(rollouts))]
    numbers = np.stack([uniforms(np.array(seeds, dtype=np.uint64), place) for place in range(longest)], 1)
    row = torch.cat([torch.full((len(r),), i) for i, r in enumerate(rollouts)])
    place = torch.cat([torch.arange(len(r)) for r in rollouts])
    labels = choose(teacher, torch.from_numpy(numbers)[row, place], Sampling())
    spread = 1 - (2 * teacher).exp().sum(-1)
    return Drawn(rollouts, row, place, torch.cat([r.token_ids for r in rollouts]), labels, spread)


def forks(drawn: Drawn, vocab: int, count: int, samples: int) -> Labelled:
    """`samples` texts of one token at each of `count` entropy peaks: today's recipe. One call a fork."""
    used, price = torch.zeros_like(drawn.labels, dtype=torch.bool), Price()
    for row, rollout in enumerate(drawn.rollouts):
        starts, read = peaks(rollout, count), 0
        used[drawn.lines(row)[starts], :samples] = True
        for start in starts:
            price, read = price + _call(len(rollout.prompt_ids) + start, read, samples), len(rollout.prompt_ids) + start
    return Labelled(_counts(drawn, used, vocab), price)


def scan(drawn: Drawn, vocab: int, samples: int = 1) -> Labelled:
    """Every token labelled `samples` times: texts that stop where they part from the answer, the next one behind it."""
    price = Price()
    for row, rollout in enumerate(drawn.rollouts):
        prompt, read = len(rollout.prompt_ids), 0
        lines = drawn.lines(row)
        for i in range(samples):
            for start, stop in runs((drawn.labels[lines, i] == rollout.token_ids).tolist()):
                price, read = price + _call(prompt + start, read, stop - start), max(read, prompt + start)
    used = torch.zeros_like(drawn.labels, dtype=torch.bool)
    used[:, :samples] = True
    return Labelled(_counts(drawn, used, vocab), price)


def starts(drawn: Drawn, vocab: int, count: int, longest: int = 16, apart: int = 4) -> Labelled:
    """`count` texts an answer in one round, from entropy peaks, each until it parts or comes to the next start."""
    used, price = torch.zeros_like(drawn.labels, dtype=torch.bool), Price()
    for row, rollout in enumerate(drawn.rollouts):
        lines, read = drawn.lines(row), 0
        agrees = (drawn.labels[lines, 0] == rollout.token_ids).tolist()
        chosen = peaks(rollout, count, apart)
        for start, after in zip(chosen, [*chosen[1:], len(agrees)], strict=True):
            stop = next(runs(agrees[start : min(after, start + longest)]))[1]
            used[lines[start : start + stop], 0] = True
            price, read = price + _call(len(rollout.prompt_ids) + start, read, stop), len(rollout.prompt_ids) + start
    return Labelled(_counts(drawn, used, vocab), price)


def second_stage(
    drawn: Drawn, vocab: int, samples: int, more: int, places: int, by: Callable[[Drawn, Tensor, int], Tensor]
) -> Labelled:
    """A scan, then `more` draws at those `places` of each answer where `by` is highest, and above 0; all count alike.

    Where the first draws choose, the mean of all draws of a place is no longer unbiased.
    """
    used = torch.zeros_like(drawn.labels, dtype=torch.bool)
    used[:, :samples] = True
    price = scan(drawn, vocab, samples).price
    for row, rollout in enumerate(drawn.rollouts):
        lines = drawn.lines(row)
        value = by(drawn, lines, samples)
        chosen = [t for t in value.argsort(descending=True, stable=True)[:places].tolist() if value[t] > 0]
        for place in chosen:
            prefix = len(rollout.prompt_ids) + place
            price += _call(prefix, prefix, more)
        used[lines[chosen], : samples + more] = True
    return Labelled(_counts(drawn, used, vocab), price)


def disagreement(drawn: Drawn, lines: Tensor, samples: int) -> Tensor:
    """The variance of a label as its first draws tell it, unbiased: 1 − Σ k (k − 1) / (n (n − 1))."""
    same = drawn.labels[lines, :samples, None] == drawn.labels[lines, None, :samples]
    return 1 - (same.float().sum((1, 2)) - samples) / (samples * (samples - 1))


def spread(drawn: Drawn, lines: Tensor, samples: int) -> Tensor:
    """The variance itself: the best choice there could be."""
    return drawn.spread[lines]


def peaks(rollout: Rollout, count: int, apart: int = 1) -> list[int]:
    """The places of highest entropy, ascending; a chunk of `apart` tokens need not fit before the end."""
    order = SCHEDULERS["peak"].order(rollout.entropies.tolist(), list)
    return chunk_starts(order, len(rollout) + apart - 1, count, apart)


def runs(agrees: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """[start, stop) of each text of a scan: up to and with the first difference, or to the end."""
    start = 0
    while start < len(agrees):
        stop = next((t + 1 for t in range(start, len(agrees)) if not agrees[t]), len(agrees))
        yield start, stop
        start = stop


def _call(prefix: int, read: int, written: int) -> Price:
    """One more call, of whose prefix an earlier one has `read` so much."""
    again = min(prefix, read)
    return Price(prefix - again, again, written, 1)


def _counts(drawn: Drawn, used: Tensor, vocab: int) -> Tensor:
    return torch.zeros(len(drawn.ids), vocab).scatter_add_(1, drawn.labels, used.float())
