"""Pieces join to the very text, and a text is cut where it follows its prefix."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from omniopd.models.text.chat import text_ids
from omniopd.models.text.token_text import (
    ContinuationText,
    continuation_tokens,
    decode,
    decode_whole,
    ends_inside_character,
    pieces,
    whole_characters,
)
from tests.builders import tiny_tokenizer

TEXTS = st.text(alphabet=st.sampled_from(list("cat sn\n25,.éß汉🙂👨‍👩")), max_size=24)
IDS = st.lists(st.integers(0, 299), max_size=24)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def metaspace() -> PreTrainedTokenizerBase:
    """A tokenizer of the other family: words marked by ▁, unknown characters as byte tokens."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
    ])  # fmt: skip
    special = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(["the cat sat on the mat"] * 5, trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, show_progress=False,
    ))  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", clean_up_tokenization_spaces=False)


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_the_pieces_of_a_text_join_to_it(text: str) -> None:
    tokenizer = tiny_tokenizer()
    assert "".join(pieces(tokenizer, text_ids(tokenizer, text))) == text


@given(IDS)
@settings(max_examples=300, deadline=None)
def test_pieces_of_any_tokens_join_to_what_the_tokenizer_decodes(ids: list[int]) -> None:
    tokenizer = tiny_tokenizer()
    expected = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    found = pieces(tokenizer, ids)
    assert len(found) == len(ids)
    assert "".join(found) == expected == decode(tokenizer, ids)


def test_a_character_split_over_tokens_appears_with_its_last_one(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = text_ids(tokenizer, "a🙂b")
    assert pieces(tokenizer, ids) == ("a", "", "", "", "🙂", "b")
    inside = [ends_inside_character(pieces(tokenizer, ids), n) for n in range(7)]
    assert inside == [False, False, True, True, True, False, False]


def test_a_character_cut_off_shows_once_at_the_end(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = text_ids(tokenizer, "a🙂")[:-1]
    assert pieces(tokenizer, ids) == ("a", "", "", "\ufffd")
    assert pieces(tokenizer, [*ids, tokenizer.eos_token_id]) == ("a", "", "", "\ufffd", "")
    assert decode_whole(tokenizer, [], ids) == "a"


def test_the_end_of_turn_has_an_empty_piece(tokenizer: PreTrainedTokenizerBase) -> None:
    assert pieces(tokenizer, [*text_ids(tokenizer, "5"), tokenizer.eos_token_id]) == ("5", "")


def test_pieces_of_word_marking_tokenizers_join_too(metaspace: PreTrainedTokenizerBase) -> None:
    ids = text_ids(metaspace, "the cat sat")
    ids += [metaspace.convert_tokens_to_ids(f"<0x{b:02X}>") for b in "é".encode()]
    found = pieces(metaspace, ids)
    assert "".join(found) == metaspace.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert decode_whole(metaspace, text_ids(metaspace, "the"), text_ids(metaspace, "the cat")[1:]) == " cat"


@given(TEXTS, TEXTS, st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_cutting_near_the_prefix_equals_encoding_all_of_it(prefix: str, text: str, tokens: int) -> None:
    tokenizer = tiny_tokenizer()
    before, whole = text_ids(tokenizer, prefix), text_ids(tokenizer, prefix + text)
    [[(cut, ids)]] = continuation_tokens(tokenizer, [ContinuationText(before, prefix, [text], tokens)])
    if whole[: len(before)] == before:
        own = whole[len(before) :][:tokens]
        assert ids == tuple(own)
        expected = tokenizer.decode(own).rstrip("\ufffd") if len(whole) > len(before) + tokens else text
        assert cut == expected
    else:
        assert ids is None
        assert text.startswith(cut)
        assert len(text_ids(tokenizer, cut)) <= tokens


def test_a_text_that_changes_the_tokens_of_the_prefix_gives_no_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    prefix = "on the"
    ids = text_ids(tokenizer, prefix)
    split = text_ids(tokenizer, " c")
    assert len(text_ids(tokenizer, " cat")) == 1
    [found] = continuation_tokens(tokenizer, [ContinuationText([*ids, *split], prefix + " c", ["at sat", "ow sat"], 2)])
    assert found[0][1] is None
    assert found[0][0].startswith("at")
    assert found[1][1] is not None


def test_text_that_spells_a_special_token_stays_text(tokenizer: PreTrainedTokenizerBase) -> None:
    text = ContinuationText(text_ids(tokenizer, "a "), "a ", ["<|im_end|>"], 50)
    [[(cut, ids)]] = continuation_tokens(tokenizer, [text])
    assert cut == "<|im_end|>"
    assert tokenizer.eos_token_id not in (ids or ())


def test_texts_keep_their_order_and_duplicates(tokenizer: PreTrainedTokenizerBase) -> None:
    [found] = continuation_tokens(tokenizer, [ContinuationText([], "", ["dog", "", "cat", "dog"], 9)])
    assert [text for text, _ in found] == ["dog", "", "cat", "dog"]
    assert found[1][1] == ()


def test_each_of_many_prefixes_gets_what_it_gets_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    many = [
        ContinuationText(text_ids(tokenizer, prefix), prefix, texts, tokens)
        for prefix, texts, tokens in [("the", [" cat", " dog", " cat"], 1), ("on the", [" cat sat"], 3), ("", ["a"], 2)]
    ]
    assert continuation_tokens(tokenizer, many) == [continuation_tokens(tokenizer, [one])[0] for one in many]
    assert continuation_tokens(tokenizer, []) == []


def test_a_fork_may_start_wherever_the_text_before_it_is_whole() -> None:
    assert whole_characters(("a", "", "é", "b")).tolist() == [True, True, False, True]
    assert whole_characters(()).tolist() == []
