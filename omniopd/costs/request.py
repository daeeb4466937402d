"""What asking a teacher about some places would take, counted from the very requests and from what is at hand.

Sends nothing. Tokens are estimates, since the student's stand for the teacher's; texts and calls are exact where no
call fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from omniopd.config import Recipe
from omniopd.io.units import dollars, duration
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.cache.identity import layers
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.model_traits import ModelTraits, traits_of
from omniopd.teachers.spending.prices import Price, price_for
from omniopd.types import ContinuationRequest, Continuations, Teacher, Usage

Layer = TypeVar("Layer")


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What asking would take: a teacher that runs here takes `seconds` (None: not measured yet), another one tokens and
    dollars (None: the price is not known). A `guess` where nobody can count the texts before they are written."""

    forks: int
    texts: int
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0
    seconds: float | None = 0.0
    guess: bool = False

    @property
    def is_free(self) -> bool:
        return self.texts == 0

    @property
    def is_paid(self) -> bool:
        return self.input_tokens > 0

    def __str__(self) -> str:
        if self.is_free:
            return "already asked"
        if not self.is_paid:
            return "local seconds" if self.seconds is None else f"about {duration(max(0.1, self.seconds))} here"
        read, written = f"{self.input_tokens:,} teacher tokens read", f"{self.output_tokens:,} written"
        return f"{'a guess: about' if self.guess else '≈'} {read} + {written}, {dollars(self.usd)}"


@dataclass(frozen=True, slots=True)
class Guess:
    """So many calls for one text each, of which each reads and writes about so many tokens."""

    texts: float
    read: float
    written: float


class Unasked:
    """Stands in for a teacher to see what it would be asked: keeps the requests and answers none."""

    def __init__(self) -> None:
        self.requests: tuple[ContinuationRequest, ...] = ()

    def continue_from(self, requests: Sequence[ContinuationRequest], on_result: object = None) -> list[Continuations]:
        self.requests = tuple(requests)
        return [Continuations((), problem="not asked") for _ in requests]


def quote(
    requests: Sequence[ContinuationRequest],
    read: Sequence[int],
    cached: CachedTeacher,
    recipe: Recipe,
    seconds_per_text: float | None = None,
) -> CostEstimate:
    """What is missing of these requests in the memory of `cached`; each call about request i reads `read[i]` tokens."""
    traits, extra_input, price = _terms(cached, recipe)
    forks = 0
    paid: list[Usage] = []
    texts = 0
    for request, before in zip(requests, read, strict=True):
        ranges = cached.missing(request)
        forks += bool(ranges)
        for _, count in ranges:
            texts += count
            calls = -(-count // traits.most_samples)
            written = count * (request.max_tokens + traits.thinking_tokens)
            # By call, since a price may rise with the length of what is read.
            paid += [Usage(before + round(extra_input), round(written / calls), calls=1)] * calls
    return _estimate(forks, texts, paid, price, cached, seconds_per_text)


def guessed(
    guesses: Sequence[Guess], cached: CachedTeacher, recipe: Recipe, seconds_per_text: float | None = None
) -> CostEstimate:
    """What texts would take whose number and length nobody knows before they are written."""
    traits, extra_input, price = _terms(cached, recipe)
    paid: list[Usage] = []
    for guess in guesses:
        read, written = round(guess.read + extra_input), round(guess.written + traits.thinking_tokens)
        paid += [Usage(read, written, calls=1)] * math.ceil(guess.texts)
    return replace(_estimate(len(paid), len(paid), paid, price, cached, seconds_per_text), guess=bool(paid))


def _terms(cached: CachedTeacher, recipe: Recipe) -> tuple[ModelTraits, float, Price | None]:
    """What is known of the teacher's model, the tokens that its handover adds to each call, and its price."""
    hosted = inside(cached, HostedTeacher)
    if hosted is None:
        traits = traits_of(recipe.teacher.model)
        return traits, traits.handover_entry("").extra_input, price_for(recipe.teacher)
    return hosted.traits, hosted.traits.handover_entry(hosted.handover.name).extra_input, hosted.price


def _estimate(
    forks: int,
    texts: int,
    paid: Sequence[Usage],
    price: Price | None,
    cached: CachedTeacher,
    seconds_per_text: float | None,
) -> CostEstimate:
    if inside(cached, LocalTeacher) is not None:
        seconds = 0.0 if not texts else None if seconds_per_text is None else texts * seconds_per_text
        return CostEstimate(forks, texts, seconds=seconds)
    usd = None if price is None and paid else sum((price.of(usage) for usage in paid), 0.0) if price else 0.0
    total = sum(paid, Usage())
    return CostEstimate(forks, texts, total.calls, total.input_tokens, total.output_tokens, usd)


def inside(teacher: Teacher, kind: type[Layer]) -> Layer | None:
    """The layer of a stack of wrappers that is of this kind."""
    return next((layer for layer in layers(teacher) if isinstance(layer, kind)), None)
