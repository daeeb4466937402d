"""Echoes are cut off, preambles and refusals are told from continuations; what may be a continuation stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.teachers.handover.cleaning import has_preamble, is_refusal, without_echo

PREFIX = "Ann has 3 apples and buys 4 more.\nStep 1: add 3 and 4"


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (PREFIX + ", which is 7.", ", which is 7."),
        ("\n" + PREFIX + ", which is 7.", ", which is 7."),
        ("Step 1: add 3 and 4, which is 7.", ", which is 7."),
        (" add 3 and 4, which is 7.", ", which is 7."),
        (PREFIX, ""),
    ],
)
def test_an_echo_is_cut_off(text: str, rest: str) -> None:
    assert without_echo(PREFIX, text) == rest


@pytest.mark.parametrize("text", [", which is 7.", "", " and 4", "4", "Step 2: done", "\n\nStep 1 is over."])
def test_a_short_overlap_may_be_what_comes_next(text: str) -> None:
    assert without_echo(PREFIX, text) == text


@pytest.mark.parametrize(("prefix", "text"), [("= " * 20, "= " * 5), ("\n" * 30, "\n" * 20), ("12" * 12, "12" * 9)])
def test_a_pattern_goes_on(prefix: str, text: str) -> None:
    assert without_echo(prefix, text) == text


@given(prefix=st.text("ab \n", max_size=40), text=st.text("ab \n", max_size=40))
def test_only_what_stands_at_the_end_of_the_prefix_is_cut_off(prefix: str, text: str) -> None:
    rest = without_echo(prefix, text)
    assert text.endswith(rest)
    cut = text[: len(text) - len(rest)]
    assert prefix.endswith((cut, cut.lstrip()))


@pytest.mark.parametrize(
    "text",
    [
        "Sure, here is the continuation:\n\n= 7",
        "Certainly! Continuing from where it stopped:\n= 7",
        "Here's the rest of the answer:\n= 7",
        "Here is the continuation: = 7",
        "Continuing the answer:\n= 7",
        "The continuation is:\n= 7",
        "I'll continue from where it left off:\n= 7",
        "Okay, let me complete the solution.\n= 7",
    ],
)
def test_a_remark_about_the_answer_is_a_preamble(text: str) -> None:
    assert has_preamble(text)


@pytest.mark.parametrize(
    "text",
    [" = 7", "Here is why: 3 + 4 = 7", "Of course 7 is odd.", "continuing", " to continue, we add", "This is 7.",
     "Okay, 3 + 4 = 7.\nDone", "Step 2: the rest is 4:\n"],
)  # fmt: skip
def test_words_of_an_answer_are_none(text: str) -> None:
    assert not has_preamble(text)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I can’t continue this text.",
        "I cannot assist with this request.",
        "I am unable to continue the answer.",
        "Sorry, I can't do that.",
        "I apologize, but I won't be able to help.",
        "As an AI language model, I",
        "I must decline to answer.",
    ],
)
def test_a_refusal_is_one(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [" I can see that", "I cannot be 7, so it is 8", "sorry about the mess, she said", "I am able to", "It can't help"],
)  # fmt: skip
def test_and_words_like_it_are_not(text: str) -> None:
    assert not is_refusal(text)
