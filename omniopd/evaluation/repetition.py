"""How much an answer says again: what distilled students do when they lose the thread. Knows token ids only."""

from __future__ import annotations

from collections.abc import Sequence

WINDOW = 4


def repetition(ids: Sequence[int], window: int = WINDOW) -> float:
    """The share of the `window`-grams of an answer that occurred in it before, in [0, 1).

    0 where none does, and for answers shorter than two windows begin; near 1 for a loop.
    """
    grams = [tuple(ids[at : at + window]) for at in range(len(ids) - window + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
