"""A streamed text is left when everything up to its first differing word has come, and not before."""

from __future__ import annotations

import random

import pytest

from omniopd.embedded import STUDENT
from omniopd.models.loading import load_tokenizer
from omniopd.teachers.hosted.parting import parted
from tests.builders import tiny_tokenizer


@pytest.mark.parametrize(
    ("draft", "text", "wanted"),
    [
        (" 12 apples.", " 13 apples.", " 13 "),
        ("12+7=19 nuts", "12+7=20.\nSo", "12+7=20."),
        (" the cat", " the\n\nSo we", " the\n\nSo "),
        (" the cat sat", " the cat's hat", " the cat's "),
        (" 12", " 12 apples and", " 12 apples "),
        ("", "19 apples", "19 "),
        (" caf", " café au", " café "),
        (" x", " (x) and", " (x)"),
        ("漢字", "漢語" + "文" * 80, "漢語" + "文" * 64),
    ],
)
def test_a_text_is_wanted_up_to_the_first_differing_word_and_what_follows_it(
    draft: str, text: str, wanted: str
) -> None:
    assert next(text[:end] for end in range(len(text) + 1) if parted(draft, text[:end])) == wanted


def test_a_text_that_agrees_is_wanted_whole() -> None:
    text = "Amy has 20+35=55 nuts.\n#### 55"
    assert not any(parted(text, text[:end]) for end in range(len(text) + 1))
    assert not any(parted(text + " more", text[:end]) for end in range(len(text) + 1))


@pytest.mark.parametrize("tokenizer", [tiny_tokenizer(), load_tokenizer(str(STUDENT))], ids=["tiny", "embedded"])
def test_what_is_left_away_changes_no_token_up_to_the_first_that_differs(tokenizer) -> None:
    drawn = random.Random(0)
    pieces = [
        "Amy has ", "20", "+", "35", "=55", " nuts", ".\n", "####", " ", "the", " cat's", "\n\n", "(x)", ", ", "é",
        "1 2", "'",
    ]  # fmt: skip
    for _ in range(400):
        draft, text = ("".join(drawn.choices(pieces, k=8)) for _ in range(2))
        begun = "".join(drawn.choices(pieces, k=2))
        draft, text = begun + draft, begun + text
        kept = next((text[:end] for end in range(len(text) + 1) if parted(draft, text[:end])), text)
        whole, cut, ours = (tokenizer(t, add_special_tokens=False).input_ids for t in (text, kept, draft))
        most = min(len(whole), len(ours))
        differs = next((n for n in range(most) if whole[n] != ours[n]), most)
        assert whole[: differs + 1] == cut[: differs + 1], (draft, text, kept)
