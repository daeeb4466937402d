"""Audited rollouts as records, without models: for views of audits."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from omniopd.method.similarity import characters
from omniopd.records import AuditRecord, RolloutRecord

WORDS = ["so", "we", "have", "the", "sum", "of", "12", "and", "7", "is", "then", "19", "apples", "left", "over", "half"]


def audit(
    start: int = 0,
    chunk: str = " the sum is",
    texts: Sequence[str] = (" the sum is", " the sum was", " we add"),
    entropy: float = 1.5,
    prior: float = 0.8,
    tokens: int = 3,
    **more: object,
) -> AuditRecord:
    """One audit; similarities by characters, tokens and dollars of a hosted teacher with N requests at once."""
    similarities = tuple(characters(chunk, list(texts)))
    values: dict[str, object] = {
        "similarities": similarities, "soft_count": sum(similarities), "posterior_mean": 0.0, "concentration": 1.0,
        "input_tokens": 100 + start, "output_tokens": tokens * len(texts),
        "cost_usd": 1e-6 * (100 + start) + 5e-6 * tokens * len(texts),
        "text_pieces": tuple(pieces_of(text) for text in texts),
    }  # fmt: skip
    return AuditRecord(start, start + tokens, entropy, chunk, tuple(texts), prior=prior, **(values | more))


def pieces_of(text: str) -> tuple[str, ...]:
    """Words with the space before them."""
    words = text.split(" ")
    return tuple(([words[0]] if words[0] else []) + [" " + word for word in words[1:]])


def rollout(
    seed: int = 0, forks: int = 10, samples: int = 10, tokens: int = 6, row: int = 0, **more: object
) -> RolloutRecord:
    """A rollout of words with an audit every other chunk; each text leaves the student's words at a random place."""
    draw = random.Random(1000 * seed + row)
    pieces = tuple(" " + draw.choice(WORDS) for _ in range(2 * forks * tokens + tokens))
    logprobs = tuple(-draw.expovariate(2.0) for _ in pieces)
    audits = []
    for i in range(forks):
        start = 2 * i * tokens + draw.randrange(tokens)
        own = pieces[start : start + tokens]
        steadiness = draw.random()
        texts = []
        for _ in range(samples):
            shared = 0
            while shared < tokens and draw.random() < steadiness:
                shared += 1
            texts.append("".join(own[:shared]) + "".join(" " + draw.choice(WORDS) for _ in range(tokens - shared)))
        prior = math.exp(sum(logprobs[start : start + tokens]) / tokens)
        audits.append(audit(start, "".join(own), texts, draw.expovariate(0.8), prior, tokens))
    return RolloutRecord(
        row, 3, f"p{row}", ({"role": "user", "content": "how many apples?"},), pieces, logprobs,
        tuple(draw.expovariate(1.0) for _ in pieces), tuple(draw.expovariate(40.0) for _ in pieces),
        audits=tuple(audits), **more,
    )  # fmt: skip
