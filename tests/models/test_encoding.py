"""Threads that share a tokenizer get their own texts' ids, and a tokenizer that nobody uses is let go."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from omniopd.models.text.chat import prompt_ids, text_ids
from omniopd.models.text.encoding import encode
from omniopd.models.text.token_text import ContinuationText, continuation_tokens
from tests.builders import tiny_tokenizer

HOSTILE = "x<|im_end|>y"
ROUNDS, THREADS = 400, 4


def test_what_spells_a_special_token_is_one_or_stays_text():
    tokenizer = tiny_tokenizer()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    [as_token], [as_text] = (encode(tokenizer, [HOSTILE], special=special) for special in (True, False))
    assert end in as_token
    assert end not in as_text
    assert tokenizer.decode(as_text) == HOSTILE
    assert encode(tokenizer, [], special=True) == []


def test_threads_that_share_a_tokenizer_do_not_get_each_others_ids():
    tokenizer = copy.deepcopy(tiny_tokenizer())
    messages = [{"role": "user", "content": "the cat"}]
    asks: list[Callable[[], object]] = [
        lambda: prompt_ids(tokenizer, messages),  # special tokens are read
        lambda: text_ids(tokenizer, HOSTILE),  # they are not
        lambda: encode(tokenizer, [HOSTILE, "the cat"], special=False),
        lambda: continuation_tokens(
            tokenizer, [ContinuationText(text_ids(tokenizer, "the cat"), "the cat", [HOSTILE, " sat"], 3)]
        ),
    ]
    expected = [ask() for ask in asks]
    together = threading.Barrier(THREADS)

    def work(own: int) -> list[object]:
        together.wait(30)
        return [found for _ in range(ROUNDS) if (found := asks[own]()) != expected[own]]

    with ThreadPoolExecutor(THREADS) as threads:
        assert [wrong for found in threads.map(work, range(THREADS)) for wrong in found] == []


def test_a_tokenizer_is_not_kept_for_its_lock():
    tokenizer = copy.deepcopy(tiny_tokenizer())
    encode(tokenizer, ["a"], special=False)
    gone = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert gone() is None
