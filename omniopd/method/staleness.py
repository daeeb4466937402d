"""Answers of a student that has moved on since (README, "Answers of an earlier student").

A label or a divergence is a loss *at* a state, and holds for whoever reached it. A weight on the student's own token is
a policy gradient, whose expectation is over the student that drew the token: it takes the ratio of the two students.
"""

from __future__ import annotations

import math

from jaxtyping import Float

from omniopd.method.arrays import Array, detached, namespace

MOST_RATIO = 2.0  # beyond, one rare token would outweigh the rest of a step


def truncated_ratio(
    now: Float[Array, " chunk"], then: Float[Array, " chunk"], together: bool
) -> Float[Array, " chunk"]:
    """min(π_θ / π_then, `MOST_RATIO`) for each token of a chunk, from its log-probabilities; detached.

    `together`: the weight hangs on the whole chunk (a similarity, a later agreement), so that the ratio is the whole
    chunk's, the product of its tokens'. Otherwise each token has a weight of its own, and a ratio of its own.
    """
    xp = namespace(now)
    moved = detached(now) - then
    if together:
        moved = xp.zeros_like(moved) + moved.sum()
    return xp.exp(xp.clip(moved, None, math.log(MOST_RATIO)))
