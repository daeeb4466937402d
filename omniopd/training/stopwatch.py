"""Seconds by phase of a step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor

from omniopd.types import Similarity


class Stopwatch:
    """Adds up wall-clock seconds under names until they are taken. A phase inside another counts for both."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start

    def timed(self, similarity: Similarity) -> Similarity:
        """The same similarity, with its time under "similarity"."""

        def measured(chunk: str, continuations: Sequence[str]) -> Float[Tensor, " continuation"]:
            with self.phase("similarity"):
                return similarity(chunk, continuations)

        return measured

    def take(self) -> dict[str, float]:
        """What was added up since the last taking."""
        taken, self._seconds = dict(self._seconds), defaultdict(float)
        return taken
