"""What asking a teacher about some places would take, counted from the very requests and from what is at hand.

Sends nothing. Tokens are estimates, since the student's stand for the teacher's; texts and calls are exact where no
call fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from omniopd.config import Recipe
from omniopd.io.units import dollars, duration
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.cache.identity import layers
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.model_traits import traits_of
from omniopd.teachers.spending.prices import price_for
from omniopd.types import ContinuationRequest, Continuations, Teacher, Usage

Layer = TypeVar("Layer")


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What asking would take: a teacher that runs here takes `seconds` (None: not measured yet), another one tokens and
    dollars (None: the price is not known)."""

    forks: int
    texts: int
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0
    seconds: float | None = 0.0

    @property
    def is_free(self) -> bool:
        return self.texts == 0

    @property
    def is_paid(self) -> bool:
        return self.input_tokens > 0

    def __str__(self) -> str:
        if self.is_free:
            return "free: at hand"
        if not self.is_paid:
            return "local seconds" if self.seconds is None else f"about {duration(max(0.1, self.seconds))} here"
        return f"≈ {self.input_tokens:,} teacher tokens read + {self.output_tokens:,} written, {dollars(self.usd)}"


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
    hosted = inside(cached, HostedTeacher)
    traits = hosted.traits if hosted is not None else traits_of(recipe.teacher.model)
    handover = traits.handover_entry(hosted.handover.name if hosted is not None else "")
    price = hosted.price if hosted is not None else price_for(recipe.teacher)
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
            paid += [Usage(before + round(handover.extra_input), round(written / calls), calls=1)] * calls
    if inside(cached, LocalTeacher) is not None:
        seconds = 0.0 if not texts else None if seconds_per_text is None else texts * seconds_per_text
        return CostEstimate(forks, texts, seconds=seconds)
    usd = None if price is None and paid else sum((price.of(usage) for usage in paid), 0.0) if price else 0.0
    total = sum(paid, Usage())
    return CostEstimate(forks, texts, total.calls, total.input_tokens, total.output_tokens, usd)


def inside(teacher: Teacher, kind: type[Layer]) -> Layer | None:
    """The layer of a stack of wrappers that is of this kind."""
    return next((layer for layer in layers(teacher) if isinstance(layer, kind)), None)
