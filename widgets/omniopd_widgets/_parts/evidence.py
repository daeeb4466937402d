"""An audit record read closely: equal texts, differences, survival. Numbers and strings.

Knows records and plain similarities; no widget, no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy
from rapidfuzz.distance import Levenshtein

from omniopd.method.evidence import surviving
from omniopd.method.similarity import Compare, without_model
from omniopd.records import AuditRecord

RECORDED = "recorded"
LONGEST = 20_000  # characters; a longer text is shown and not compared, since that would take seconds

_WORD = re.compile(r"\s*(?:\d|[^\W\d]+|[^\w\s])|\s+")
_MOST_WORDS = 2_000

Segment = tuple[str, str]  # ("same" | "other" | "gone", text)


def similarities(audit: AuditRecord, more: Mapping[str, Compare] | None = None) -> dict[str, list[float | None]]:
    """Similarity of chunk and each text, by name: as recorded, the plain ones, and `more`. None for texts too long."""
    found: dict[str, list[float | None]] = {RECORDED: list(audit.similarities)}
    short = len(audit.chunk) <= LONGEST
    fit = [text for text in dict.fromkeys(audit.texts) if short and len(text) <= LONGEST]
    for name, similarity in {**without_model(), **(more or {})}.items():
        known = dict(zip(fit, map(float, similarity(audit.chunk, fit)), strict=True))
        found[name] = [known.get(text) for text in audit.texts]
    return found


def self_agreement(texts: Sequence[str], similarity: Compare) -> list[float]:
    """Each text against each, row by row; NaN for texts too long. Equal texts are compared once."""
    distinct = [text for text in dict.fromkeys(texts) if len(text) <= LONGEST]
    table = {text: dict(zip(distinct, similarity(text, distinct), strict=True)) for text in distinct}
    return [table.get(a, {}).get(b, math.nan) for a in texts for b in texts]


def merged(texts: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Distinct texts with the numbers of those that are the same, in the order of their first."""
    found: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        found.setdefault(text, []).append(i)
    return list(found.items())


def differences(chunk: str, text: str) -> list[Segment]:
    """`text` in parts: the same as the chunk, other than it, and (in no text) gone from it.

    Word by word; where there are very many words, the common beginning and end only.
    """
    ours, theirs = _WORD.findall(chunk), _WORD.findall(text)
    if max(len(ours), len(theirs)) > _MOST_WORDS:
        return _ends(chunk, text)
    parts: list[Segment] = []
    gone = new = ""
    for step in Levenshtein.opcodes(ours, theirs):
        mine, its = "".join(ours[step.src_start : step.src_end]), "".join(theirs[step.dest_start : step.dest_end])
        if step.tag == "equal":
            parts += [("gone", gone), ("other", new), ("same", its)]
            gone = new = ""
        else:
            gone, new = gone + mine, new + its
    return [(kind, part) for kind, part in (*parts, ("gone", gone), ("other", new)) if part]


def survival(audit: AuditRecord, chunk_pieces: Sequence[str] | None = None) -> tuple[list[float], list[int | None]]:
    """Share of the texts that agree with the chunk through each of its tokens, and where each text first differs.

    A text that agrees to the end differs at the chunk's length; None for a text that is not known as tokens. Without
    the chunk's own tokens the texts' tokens are laid on its letters.
    """
    length = audit.stop - audit.start
    first: list[int | None] = []
    for i in range(len(audit.texts)):
        pieces = audit.text_pieces[i] if i < len(audit.text_pieces) else ()
        first.append(_agrees_through(pieces, audit.chunk, chunk_pieces, length) if pieces else None)
    known = [n for n in first if n is not None]
    return surviving(known, length, numpy).tolist() if known else [], first


def _agrees_through(pieces: Sequence[str], chunk: str, chunk_pieces: Sequence[str] | None, length: int) -> int:
    if chunk_pieces is not None:
        for j, (ours, theirs) in enumerate(zip(chunk_pieces, pieces, strict=False)):
            if ours != theirs:
                return j
        return min(len(chunk_pieces), len(pieces))
    written = ""
    for j, piece in enumerate(pieces[:length]):
        written += piece
        if not chunk.startswith(written) or (piece == "" and written != chunk):
            return j
    return min(len(pieces), length)


def _ends(chunk: str, text: str) -> list[Segment]:
    shorter = min(len(chunk), len(text))
    head = next((i for i in range(shorter) if chunk[i] != text[i]), shorter)
    tail = next((i for i in range(shorter - head) if chunk[-1 - i] != text[-1 - i]), shorter - head)
    middle, gone = text[head : len(text) - tail], chunk[head : len(chunk) - tail]
    parts = [("same", text[:head]), ("gone", gone), ("other", middle), ("same", text[len(text) - tail :])]
    return [(kind, part) for kind, part in parts if part]
