"""How alike two texts are, from 0 (nothing in common) to 1 (the same), on plain lists. The seam is `types.Similarity`.

Rules of the seam: the chunk and each text are compared as they are, raw case and spaces; two empty texts are the same
(1), one empty text has nothing in common with another (0); the order of the texts is kept.

A caution for all of them: a target that grows linearly with the mean similarity is maximised by writing the *most
typical* of the teacher's texts, never by writing like the teacher's distribution. And similar text is not correct
text: one wrong digit in 200 characters costs `characters` .005 and `exact` everything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from omniopd.method.registry import Choice, Registry

Compare = Callable[[str, Sequence[str]], Sequence[float]]  # a chunk and texts → a number for each text

_TEXT_TOKEN = re.compile(r"\d|[^\W\d]+|[^\w\s]|\s+")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class NamedSimilarity(Choice):
    """`compare` is None where a model is needed (`auditing.similarity_named` loads it)."""

    compare: Compare | None


def characters(chunk: str, texts: Sequence[str]) -> list[float]:
    """1 − Levenshtein(a, b) / max(|a|, |b|) over characters: the paper's φ (distances by rapidfuzz).

    On recorded GSM8K solutions (LOG.md, benchmarks/real_text.py; AUROC of right against wrong) 0.57 within a question,
    0.77 where two share their beginning; shortness alone has 0.48 and 0.68.
    """
    from rapidfuzz.distance import Levenshtein

    return [Levenshtein.normalized_similarity(chunk, text) for text in texts]


def tokens(chunk: str, texts: Sequence[str]) -> list[float]:
    """Normalised edit similarity over text tokens: words, single digits, signs, runs of white space. Needs no
    model's tokenizer.

    On recorded GSM8K solutions 0.62 within a question, 0.82 where two share their beginning.
    """
    from rapidfuzz.distance import Levenshtein

    ours = _TEXT_TOKEN.findall(chunk)
    return [Levenshtein.normalized_similarity(ours, _TEXT_TOKEN.findall(text)) for text in texts]


def rouge1(chunk: str, texts: Sequence[str]) -> list[float]:
    """ROUGE-1 F1 of the words in lower case: harmonic mean of precision and recall of the shared words.

    On recorded GSM8K solutions 0.73 within a question, 0.86 where two share their beginning: the best of these.
    """
    ours = Counter(_WORD.findall(chunk.lower()))

    def f1(text: str) -> float:
        theirs = Counter(_WORD.findall(text.lower()))
        total = ours.total() + theirs.total()
        return 2 * (ours & theirs).total() / total if total else float(chunk == text)

    return [f1(text) for text in texts]


def exact(chunk: str, texts: Sequence[str]) -> list[float]:
    """1 for the same text, else 0: the soft count becomes a count. Sharp for short chunks, silent for long ones.

    On 200 characters of recorded GSM8K solutions 0.50: no two are the same.
    """
    return [float(text == chunk) for text in texts]


SIMILARITIES = Registry(
    "audit.similarity",
    NamedSimilarity("characters", "edit distance over characters", characters),
    NamedSimilarity("tokens", "edit distance over words, digits and signs", tokens),
    NamedSimilarity("rouge1", "shared words (ROUGE-1)", rouge1),
    NamedSimilarity("exact", "1 for the same text, else 0", exact),
    NamedSimilarity("embedding", "cosine of a model's embeddings", None),
)


def without_model() -> dict[str, Compare]:
    """The similarities that need no model, by name."""
    return {name: found.compare for name, found in SIMILARITIES.items() if found.compare is not None}


def mean_self_agreement(texts: Sequence[str], compare: Compare) -> float:
    """Mean similarity of a teacher's texts with each other, over all pairs; NaN for fewer than two texts.

    Low: the teacher itself would go on in many ways, so that a student who differs need not be wrong.
    """
    pairs = [value for i, text in enumerate(texts) for value in compare(text, texts[i + 1 :])]
    return sum(pairs) / len(pairs) if pairs else float("nan")
