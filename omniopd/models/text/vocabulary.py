"""Whether two tokenizers are one: an id, and a text, mean to one what they mean to the other. Knows no models."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from omniopd.models.text.encoding import encode

# What a tokenizer without a backend that can be written down is tried on.
_TRIED = (
    "", " ", "  a\n\n b\t", "The cat's 1,234 mats.", "naïve Éß ﬁ", "中文的", "🙂👨‍👩",
    "x\u0301 \u00a0\u200b", "\0\ufffd", "<s>",
)  # fmt: skip


def tokenizer_mark(tokenizer: PreTrainedTokenizerBase) -> str:
    """A mark: equal for tokenizers that read and write alike, different for all others.

    Alike: the same vocabulary (every id the same token), the same added and special tokens, and the same normaliser,
    pre-tokenizer, model and decoder, as the backend writes them down. Padding, truncation and what is put around a
    whole text do not count, nor does which token ends a turn: ids and texts mean the same without. A tokenizer without
    a backend counts by class, vocabulary and what it makes of a few texts.
    """
    return _mark(tokenizer, len(tokenizer))


def same_tokenizer(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether ids of one can be read by a model of the other."""
    return one is other or tokenizer_mark(one) == tokenizer_mark(other)


def tokens_for_one(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """How many of the teacher's tokens one of the student's takes, over `texts`; rounded up to twentieths, and never
    exactly 1, which stands for one tokenizer."""
    own = sum(map(len, encode(student, texts, special=False)))
    its = sum(map(len, encode(teacher, texts, special=False)))
    ratio = math.ceil(20 * its / max(1, own)) / 20
    return 1.05 if ratio in (0, 1) else ratio


@lru_cache(maxsize=32)
def _mark(tokenizer: PreTrainedTokenizerBase, size: int) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    described: dict[str, Any]
    if backend is not None:
        written = json.loads(backend.to_str())
        described = {part: written.get(part) for part in ("normalizer", "pre_tokenizer", "model", "decoder")}
        described["added"] = sorted(written.get("added_tokens") or [], key=lambda token: int(token["id"]))
    else:
        added = {token: repr(each) for token, each in tokenizer.added_tokens_decoder.items()}
        tried = encode(tokenizer, _TRIED, special=True)
        described = {
            "class": type(tokenizer).__qualname__, "size": size, "vocabulary": tokenizer.get_vocab(), "added": added,
            "tried": tried,
        }  # fmt: skip
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
