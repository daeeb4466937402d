"""Speculative verification: a text of the teacher speaks for every token of the answer that it repeats.

The student has drafted the answer y; a text z that a teacher writes from place t is compared with it token by token.
While z agrees, each token of z was drawn from the teacher's distribution after the *student's* prefix, and so was the
first that differs: one text labels all of them. Begun again right behind the difference, a `Stretch` labels one place
after the other, each by one draw: given y they are independent, z_u ~ π_T(· | x, y_<u) (README, "A scan").

Knows places and tokens: neither who is asked nor how.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from omniopd.method.arrays import namespace
from omniopd.method.evidence import ForkEvidence, ForkTarget, shared
from omniopd.method.forks import chunk_starts

ACCEPTANCE = 0.9  # of the teacher's tokens, where none has been seen yet: a guess


@dataclass(slots=True)
class Stretch:
    """The places start ≤ u < stop of an answer, one text after the other.

    `order` lists places, the most wanted first (of the whole answer; what lies elsewhere is passed over). A text is at
    most `longest` tokens long and ends where a place has its label already; there are at most `texts` of them (None: as
    many as it takes).
    """

    start: int
    stop: int
    order: Sequence[int]
    longest: int
    texts: int | None = None
    done: set[int] = field(default_factory=set)
    _at: int = 0

    def next(self) -> tuple[int, int] | None:
        """Where the next text begins and where it ends at the latest; None when nothing is to be asked any more."""
        if self.texts == 0:
            return None
        while self._at < len(self.order):
            place = self.order[self._at]
            if self.start <= place < self.stop and place not in self.done:
                end = min(place + self.longest, self.stop)
                return place, next((u for u in range(place + 1, end) if u in self.done), end)
            self._at += 1
        return None

    def take(self, place: int, tokens: int) -> None:
        """A text has come that labels so many places from `place` on; none: this place is given up."""
        self.done.update(range(place, place + max(1, tokens)))
        if self.texts is not None:
            self.texts -= 1

    def end(self) -> None:
        """The teacher has failed: what is labelled stays, nothing more is asked."""
        self.texts = 0


def stretches(
    length: int,
    longest: int,
    order: Iterable[int] | None = None,
    texts: int = 0,
    at_once: int = 1,
    allowed: Sequence[bool] | None = None,
) -> list[Stretch]:
    """An answer of `length` tokens in at most `at_once` stretches, which can be asked about side by side.

    `texts` 0: every place gets a label, ascending. Else so many texts at most, each begun at the first place of `order`
    that has none. Stretches begin at 0 and at the first places of `order` that keep well apart. `allowed` rules places
    out (inside a character, say): no text begins there.
    """
    places = list(range(length) if order is None else order)
    free = range(length) if allowed is None else [t for t in range(length) if allowed[t]]
    most = min(at_once, texts or at_once)
    apart = max(1, length // (2 * max(1, most)))
    wanted = [t for t in places if t >= apart]
    starts = [0, *chunk_starts(wanted, length, most - 1, apart, allowed)]
    first = list(free) if not texts else [t for t in places if allowed is None or allowed[t]]
    shares = [None if not texts else texts // len(starts) + (i < texts % len(starts)) for i in range(len(starts))]
    return [
        Stretch(start, stop, first, longest, share)
        for start, stop, share in zip(starts, [*starts[1:], length], shares, strict=True)
    ]


def expected_texts(length: int, acceptance: float = ACCEPTANCE) -> float:
    """1 + (1 − a) T: the texts that a scan of T tokens takes, where a of the teacher's tokens are the student's own."""
    return 1 + (1 - acceptance) * length


def expected_run(longest: int, acceptance: float = ACCEPTANCE) -> float:
    """(1 − a^C) / (1 − a): the tokens that a text labels, of C at most."""
    return (1 - acceptance**longest) / (1 - acceptance) if acceptance < 1 else float(longest)


def whole_run(longest: int, length: int) -> float:
    """The tokens of a text that nobody stops at its difference: C, or those to the end of an answer of `length` tokens,
    on average over the places where it may begin."""
    return sum(min(longest, length - place) for place in range(length)) / length


@dataclass(frozen=True, slots=True)
class Run:
    """What one text says of the answer: the teacher's tokens from place `start` on, all but the last the answer's."""

    start: int
    tokens: tuple[Any, ...]

    @property
    def stop(self) -> int:
        return self.start + len(self.tokens)


def agreed_run(start: int, written: Sequence[Hashable], answer: Sequence[Hashable]) -> Run:
    """The beginning of a text, up to and with the first token that differs from the answer behind `start`."""
    rest = answer[start:]
    return Run(start, tuple(written[: min(shared(written, rest) + 1, len(rest))]))


def segments(runs: Iterable[Run]) -> list[tuple[int, int, tuple[tuple[Any, ...], ...]]]:
    """Runs of several draws, cut where any of them begins or ends: (start, stop, what each run says in between).

    In a segment every run speaks for every place, and agrees with the answer but perhaps in the last one. What the runs
    say stands in their order.
    """
    ordered = list(runs)
    cuts = sorted({cut for run in ordered for cut in (run.start, run.stop)})
    found = []
    for start, stop in pairwise(cuts):
        said = [r.tokens[start - r.start : stop - r.start] for r in ordered if r.start <= start and stop <= r.stop]
        if said:
            found.append((start, stop, tuple(said)))
    return found


def tokens_of_run(
    rollout: int,
    chunk: Sequence[Hashable],
    texts: Sequence[Sequence[Hashable] | None],
    priors: Sequence[float],
) -> list[ForkEvidence]:
    """Every token of a run as a fork of its own: a chunk of one token, and what each text has in its place."""
    made = []
    for at, (token, prior) in enumerate(zip(chunk, priors, strict=True)):
        said = [(text[at],) for text in texts if text is not None and len(text) > at]
        agreeing = sum(beside == (token,) for beside in said)
        made.append(ForkEvidence(rollout, (token,), float(agreeing), len(said), prior, tuple(said)))
    return made


def joined(targets: Sequence[ForkTarget], sizes: Sequence[int]) -> list[ForkTarget]:
    """Targets of single tokens as those of their runs: the next `sizes[i]` of them are run i's."""
    remaining, made = iter(targets), []
    for size in sizes:
        parts = [next(remaining) for _ in range(size)]
        if size == 1:
            made.append(parts[0])
            continue
        labels = tuple(part.labels[0] if part.labels else {} for part in parts)
        weights = namespace(parts[0].weights).concatenate([part.weights for part in parts])
        made.append(replace(parts[0], weights=weights, labels=labels if any(labels) else ()))
    return made
