"""One thread at a time encodes with a tokenizer.

Whether special tokens are read out of a text is a switch that a fast tokenizer sets on itself for each call: threads
that share one (training in one, a view that asks a teacher in another) would get each other's. Knows no text.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

_LOCKS: WeakKeyDictionary[PreTrainedTokenizerBase, threading.Lock] = WeakKeyDictionary()
_FINDING = threading.Lock()


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], special: bool, whole: bool = False
) -> list[list[int]]:
    """Token ids of each text. `special`: what spells a special token is one; else it stays text.

    `whole`: with what the tokenizer puts around a whole text by itself, as a server does; else nothing is added.
    """
    if not texts:
        return []
    with _lock_of(tokenizer):
        encoded = tokenizer(
            list(texts), add_special_tokens=whole, split_special_tokens=not special, return_attention_mask=False
        )
    return [list(ids) for ids in encoded.input_ids]


def _lock_of(tokenizer: PreTrainedTokenizerBase) -> threading.Lock:
    with _FINDING:
        return _LOCKS.setdefault(tokenizer, threading.Lock())
