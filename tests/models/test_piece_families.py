"""Tokenizers of every family: pieces join to the text, prefix and continuation join, cuts and labels end tokens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniopd.models.text.chat import text_ids
from omniopd.models.text.token_text import (
    ContinuationText,
    continuation_tokens,
    decode,
    decode_whole,
    pieces,
    pieces_after,
)
from tests.models.families import FAMILIES, family

# Letters that are in the vocabularies, runs that are not, joiners, accents, unassigned and private characters, NUL.
HARD = st.one_of(
    st.sampled_from(list("the cat sat\n\n  .,é")),
    st.sampled_from(list("中文的答案是三😀👨👩ﬁ\u0301\u200d\u0378\ue000\ufffd\0")),
    st.characters(exclude_categories=["Cs"]),
)
TEXTS = st.text(HARD, max_size=20)
every = pytest.mark.parametrize("name", FAMILIES)


def text_of(name: str, ids: list[int]) -> str:
    return family(name).decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@every
@given(ids=st.lists(st.integers(0, 400), max_size=20))
@settings(max_examples=100, deadline=None)
def test_the_pieces_of_any_tokens_join_to_what_the_tokenizer_decodes(name: str, ids: list[int]) -> None:
    ids = [token % len(family(name)) for token in ids]
    found = pieces(family(name), ids)
    assert len(found) == len(ids)
    assert "".join(found) == text_of(name, ids)


@every
@given(text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_the_pieces_of_a_text_join_and_each_beginning_that_is_whole_is_what_is_decoded(name: str, text: str) -> None:
    """So that the prefix of a fork is the same whatever the student writes after it."""
    ids = text_ids(family(name), text)
    found = pieces(family(name), ids)
    assert "".join(found) == text_of(name, ids)
    for stop, piece in enumerate(found, 1):
        if piece and not piece.endswith("\ufffd"):
            assert "".join(found[:stop]) == text_of(name, ids[:stop])


@pytest.mark.parametrize("name", ["byte-level", "nested", "byte-fallback"])
@given(text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_the_text_itself_comes_back_from_tokenizers_that_lose_nothing(name: str, text: str) -> None:
    found = pieces(family(name), text_ids(family(name), text))
    assert "".join(found) == text
    # A fork may start after every character that ends with a token.
    assert sum(map(len, filter(None, found))) == len(text)


@every
@given(prefix=TEXTS, more=TEXTS, drop=st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_prefix_and_continuation_join(name: str, prefix: str, more: str, drop: int) -> None:
    """What a teacher adds to a prefix is what decoding both together shows, but for a character that is cut."""
    tokenizer = family(name)
    before, ids = text_ids(tokenizer, prefix), text_ids(tokenizer, more)
    ids = ids[: max(0, len(ids) - drop)]
    whole, said = text_of(name, before + ids), decode_whole(tokenizer, before, ids)
    if "\ufffd" not in whole:
        assert text_of(name, before) + said == whole
    elif "\ufffd" not in prefix + more:
        assert "\ufffd" not in said, "a character that is cut is left out, and spoils nothing before it"


@every
@given(prefix=TEXTS, text=TEXTS, tokens=st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_labels_are_the_tokens_that_follow_the_prefix_and_say_what_the_cut_text_says(
    name: str, prefix: str, text: str, tokens: int
) -> None:
    tokenizer = family(name)
    before = text_ids(tokenizer, prefix)
    [[(cut, ids)]] = continuation_tokens(tokenizer, [ContinuationText(before, prefix, [text], tokens)])
    whole = text_ids(tokenizer, prefix + text)
    assert (ids is None) == (whole[: len(before)] != before)
    if ids is None:
        return
    assert list(ids) == whole[len(before) :][:tokens]
    if len(whole) > len(before) + tokens:
        assert cut == decode_whole(tokenizer, before, ids)
    else:
        assert cut == text


@every
@given(prefix=TEXTS, text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_pieces_of_a_continuation_join_to_what_it_adds(name: str, prefix: str, text: str) -> None:
    tokenizer = family(name)
    before = text_ids(tokenizer, prefix)
    [[(_, ids)]] = continuation_tokens(tokenizer, [ContinuationText(before, prefix, [text], 99)])
    if ids is not None and "\ufffd" not in text_of(name, [*before, *ids]):
        assert text_of(name, before) + "".join(pieces_after(tokenizer, before, ids)) == text_of(name, [*before, *ids])


@pytest.mark.parametrize("name", ["byte-fallback", "metaspace", "unigram"])
def test_a_run_of_bytes_is_read_from_its_beginning(name: str) -> None:
    """By hand: each character of the run has three bytes, the last of which brings it."""
    tokenizer = family(name)
    ids = [tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in "答案是三中文".encode()]
    assert pieces(tokenizer, ids) == tuple(x for c in "答案是三中文" for x in ("", "", c))
    assert decode_whole(tokenizer, ids[:12], ids[12:]) == "中文"
    assert decode_whole(tokenizer, ids[:12], ids[12:17]) == "中"
    assert decode_whole(tokenizer, ids[:3], ids[3:5]) == ""
    # A byte that belongs to no character: the decoder gives up the whole run, and so does each place in it.
    assert pieces(tokenizer, [*ids[:4], ids[0]]) == ("", "", "", "", "\ufffd" * 5)


def test_a_long_answer_is_read_in_linear_time() -> None:
    tokenizer = family("byte-fallback")
    ids = text_ids(tokenizer, "the cat 答案是三\n" * 400)
    assert "".join(pieces(tokenizer, ids)) == decode(tokenizer, ids)
