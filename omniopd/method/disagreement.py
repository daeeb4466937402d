"""Where a teacher parts from the student, read off one audit's record: the token, and what it writes there instead.

Of a fork the first token is looked at, of a scan's run the last: the texts of a run agree in all others. Knows records;
numbers and strings.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import zip_longest

from omniopd.records import AuditRecord

_FIRST_WORD = re.compile(r"\s*(\d|[^\W\d]+|[^\w\s]|$)")
# Numbers whole, because one that differs in a digit is another number.
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d]+|[^\w\s]|\s+")


def place_of(audit: AuditRecord) -> int:
    """The token that an audit is about: a fork's first, a run's last."""
    return audit.stop - 1 if audit.run else audit.start


def teacher_tokens(audit: AuditRecord) -> list[tuple[str, int]]:
    """What the texts have at that place, with their counts, most frequent first: the teacher's next-token distribution
    in as many draws; "" ends the turn.

    Of the student's vocabulary where the texts are known as tokens, else the first word of each text.
    """
    at = -1 if audit.run else 0
    counts: Counter[str] = Counter()
    for text, pieces in zip_longest(audit.texts, audit.text_pieces[: len(audit.texts)], fillvalue=()):
        if pieces:
            counts[pieces[at]] += 1
        elif text and not any(audit.text_pieces):
            word = _FIRST_WORD.match(text)
            counts[word[0] if word else text[:1]] += 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def first_difference(chunk: str, text: str) -> tuple[str, str]:
    """The first word in which two texts differ, as each has it ("" where it has ended): ("31", "29"); two empty words
    for the same text."""
    if chunk == text:
        return "", ""
    ours, theirs = _WORD.findall(chunk), _WORD.findall(text)
    return next((pair for pair in zip_longest(ours, theirs, fillvalue="") if pair[0] != pair[1]), ("", ""))


def self_agreement(texts: tuple[str, ...]) -> float:
    """The share of pairs of texts that are the same; NaN for fewer than two."""
    count = len(texts)
    if count < 2:
        return float("nan")
    return sum(n * (n - 1) for n in Counter(texts).values()) / (count * (count - 1))
