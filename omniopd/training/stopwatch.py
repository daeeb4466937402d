"""Seconds by phase of a step, which add up to the step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor

from omniopd.types import Similarity


class Stopwatch:
    """Adds up wall-clock seconds under names until they are taken. A phase inside another counts for the inner one."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._inside: list[float] = [0.0]  # seconds of inner phases, for each phase that is going on

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            took = time.perf_counter() - start
            self._seconds[name] += took - self._inside.pop()
            self._inside[-1] += took

    def timed(self, similarity: Similarity) -> Similarity:
        """The similarity, with its seconds added up under "similarity"."""

        def measured(chunk: str, continuations: Sequence[str]) -> Float[Tensor, " continuation"]:
            with self.phase("similarity"):
                return similarity(chunk, continuations)

        return measured

    def so_far(self, name: str) -> float:
        """What was added up under a name since the last taking."""
        return self._seconds[name]

    def take(self) -> dict[str, float]:
        """What was added up since the last taking."""
        taken, self._seconds = dict(self._seconds), defaultdict(float)
        return taken


def with_rest(seconds: Mapping[str, float], step_time: float | None) -> dict[str, float]:
    """The phases and, as "rest", what the step took beyond them: the backward pass and the optimizer above all."""
    known = {} if step_time is None else {"rest": max(0.0, step_time - sum(seconds.values()))}
    return {**seconds, **known}
