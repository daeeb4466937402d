"""Records for views: a rollout with audits whose numbers agree with each other."""

from __future__ import annotations

import re
from collections.abc import Sequence

from omniopd.method.similarity import characters
from omniopd.records import AuditRecord, RolloutRecord

CHUNK = " then he sells 67 of them, so 80 - 67 = 3."
TEXTS = (
    " then he sells 67 of them, so 80 - 67 = 13.",
    " then he sells 67 of them, so 80 - 67 = 13.",
    " then he sells 67 cards: 80 - 67 = 13.",
    " So Tom now has 80 cards",
    "",
    " then he sells 76 of them, so 80 - 76 = 4.",
)


def tokens(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r" ?\w+|\S|\s", text))


def audit_at(
    start: int, chunk: str = CHUNK, texts: Sequence[str] = TEXTS, entropy: float = 1.3, **more: object
) -> AuditRecord:
    """An audit with similarities by characters, π̄ = .6, α = 1, and the paper's weights."""
    similarities = tuple(characters(chunk, texts))
    length = len(tokens(chunk))
    trust = (sum(similarities) + 0.6) / (len(texts) + 1)
    values = {
        "weights": (trust,) * length, "handover": "prefill", "served_model": "some-teacher", "input_tokens": 1200,
        "output_tokens": 310, "cost_usd": 0.0123, "text_pieces": tuple(tokens(text) or ("",) for text in texts),
    }  # fmt: skip
    return AuditRecord(
        start, start + length, entropy, chunk, tuple(texts), similarities, sum(similarities), 0.6, trust, 1.0,
        **{**values, **more},
    )  # fmt: skip


def rollout_record() -> RolloutRecord:
    """Two audited chunks, a fork without an answer, four lines, an end of turn."""
    first = audit_at(2)
    second_chunk = " Nice. The answer"
    second = audit_at(
        first.stop + 1, second_chunk, (" Nice. The result is", " Great. The answer", second_chunk), 0.7, exact=False,
        handover="instruction",
    )  # fmt: skip
    pieces = ("Tom", " has", *tokens(CHUNK), "\n", *tokens(second_chunk), " is", " 3", ".\n", "####", " 3", "\n", "")
    length = len(pieces)
    audited = {*range(first.start, first.stop), *range(second.start, second.stop)}
    entropies = [0.05 + 0.01 * (i % 5) for i in range(length)]
    entropies[first.start], entropies[second.start], entropies[second.stop + 1] = 1.3, 0.7, 1.9
    return RolloutRecord(
        0, 3, "p0", ({"role": "user", "content": "How many cards does Tom have?"},), pieces,
        tuple(-0.5 - 0.01 * i for i in range(length)), tuple(entropies),
        anchor_kl=tuple(0.01 * i for i in range(length)), anchored=tuple(i not in audited for i in range(length)),
        audits=(first, second), unanswered=((second.stop + 1, "rate limit"),),
    )  # fmt: skip


def long_record(length: int, audits: int = 10, samples: int = 10, chunk_tokens: int = 50) -> RolloutRecord:
    """An answer of `length` tokens with words as a tokenizer cuts them, lines, and `audits` audited chunks."""
    words = (
        "the",
        "answer",
        "of",
        "a",
        "sum",
        "is",
        "then",
        "what",
        "we",
        "get",
        "when",
        "both",
        "parts",
        "come",
        "so",
    )
    pieces = ["\n" if i % 23 == 22 else " " + words[i * 7919 % len(words)] for i in range(length)]
    entropies = [((i * 2654435761) % 1000 / 1000) ** 6 * 3 for i in range(length)]
    made = []
    for k in range(audits if length > audits * chunk_tokens else 0):
        start = k * (length // audits)
        chunk = pieces[start : start + chunk_tokens]
        texts = tuple("".join(chunk[: 5 * (n + 1)]) + " something else" for n in range(samples))
        similarities = tuple(n / samples for n in range(samples))
        one = AuditRecord(
            start, start + chunk_tokens, entropies[start], "".join(chunk), texts, similarities, sum(similarities),
            0.5, 0.5, 1.0, weights=(0.5,) * chunk_tokens,
        )  # fmt: skip
        made.append(one)
    numbers = [-abs(e) / 2 for e in entropies]
    return RolloutRecord(
        0, 0, "long", (), tuple(pieces), tuple(numbers), tuple(entropies), tuple(-n / 10 for n in numbers),
        (True,) * length, "length", None, tuple(made),
    )  # fmt: skip
