"""The similarities of `similarity.py` on plain lists: a twin for views, which compare texts again without torch.

The same numbers to single precision (tests/method/test_plain_twins.py). The embedding is a model's and is not here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from rapidfuzz.distance import Levenshtein

from omniopd.errors import ConfigError

PlainSimilarity = Callable[[str, Sequence[str]], list[float]]

_TEXT_TOKEN = re.compile(r"\d|[^\W\d]+|[^\w\s]|\s+")
_WORD = re.compile(r"\w+")


def characters(chunk: str, texts: Sequence[str]) -> list[float]:
    """1 − Levenshtein / longer length, over characters: the paper's φ."""
    return [Levenshtein.normalized_similarity(chunk, text) for text in texts]


def tokens(chunk: str, texts: Sequence[str]) -> list[float]:
    """The same over words, single digits, signs and runs of white space."""
    ours = _TEXT_TOKEN.findall(chunk)
    return [Levenshtein.normalized_similarity(ours, _TEXT_TOKEN.findall(text)) for text in texts]


def rouge1(chunk: str, texts: Sequence[str]) -> list[float]:
    """ROUGE-1 F1 of the words in lower case."""
    ours = Counter(_WORD.findall(chunk.lower()))
    found = []
    for text in texts:
        theirs = Counter(_WORD.findall(text.lower()))
        total = ours.total() + theirs.total()
        found.append(2 * (ours & theirs).total() / total if total else float(chunk == text))
    return found


def exact(chunk: str, texts: Sequence[str]) -> list[float]:
    """1 for the same text, else 0."""
    return [float(text == chunk) for text in texts]


PLAIN_BY_NAME: dict[str, PlainSimilarity] = {
    "characters": characters,
    "tokens": tokens,
    "rouge1": rouge1,
    "exact": exact,
}


def plain_similarity(name: str) -> PlainSimilarity:
    """The similarity of that name. Raises ConfigError for one that is not here."""
    if name not in PLAIN_BY_NAME:
        raise ConfigError(f"similarity is {name!r}: without torch it must be one of {', '.join(PLAIN_BY_NAME)}")
    return PLAIN_BY_NAME[name]


def mean_self_agreement(texts: Sequence[str], similarity: PlainSimilarity) -> float:
    """Mean similarity of a teacher's texts with each other, over all pairs; NaN for fewer than two texts.

    Low: the teacher itself would go on in many ways, so that a student who differs need not be wrong.
    """
    pairs = [value for i, text in enumerate(texts) for value in similarity(text, texts[i + 1 :])]
    return sum(pairs) / len(pairs) if pairs else float("nan")
