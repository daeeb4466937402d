"""Answers whose continuation is known: the "model" behind the local servers writes them out, and only them.

Each answer is of pieces that break careless handling: indents, tabs, runs of blank lines, NBSP, CRLF, accents, emoji of
several code points, Chinese, half words. Prefixes are cut at every kind of place.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

TOKEN_CHARACTERS = 3
KINDS = ("empty", "space", "newline", "indent", "half word", "emoji", "anywhere")

_WORDS = (
    "Adding", "the", "tens", "first", "gives", "seventeen", "because", "naïve", "Ünïcode", "façade", "12", "+", "5",
    "=", "17,", "so", "x_1", "≤", "y²", "and", "π", "≈", "3.14", "«quoted»", "a\\nb", "{tag}", "%s",
    "</b>", '"{\'k\': 1}"',
)  # fmt: skip
_EMOJI = ("🙂", "👩‍🔬", "🇩🇪", "👍🏽", "é", "漢字", "…")
_BREAKS = (" ", " ", " ", " ", "  ", "\n", "\n\n", "\n    ", "\n\t", "\t", " ", "\r\n", "\n  - ")


@dataclass(frozen=True, slots=True)
class Case:
    """A question, the only answer to it, and a prefix of that answer, cut at a place of `kind`."""

    question: str
    answer: str
    prefix: str
    kind: str


def answer(number: int, pieces: int = 60) -> str:
    """Answer `number`, some hundreds of characters; it holds no spelling of a special token."""
    drawn = random.Random(number)
    written = []
    for _ in range(pieces):
        written.append(drawn.choice(_WORDS) if drawn.random() < 0.85 else drawn.choice(_EMOJI))
        written.append(drawn.choice(_BREAKS))
    return "".join(written)


def question(number: int) -> str:
    return f"Question {number}: what is 12 + 5?\n  (Show the work: “{number}”.)"


def continuation(questions: str, received: str, max_tokens: int) -> str:
    """What the model writes after `received`, given everything that was asked: the answer's next characters.

    A prefix that is not the beginning of the answer gets words that fit nothing.
    """
    number = int(questions.rsplit("Question ", 1)[1].split(":")[0])
    whole = answer(number)
    if not whole.startswith(received):
        return "!! the prefix arrived changed !!"[: TOKEN_CHARACTERS * max_tokens]
    return whole[len(received) : len(received) + TOKEN_CHARACTERS * max_tokens]


def cases(count: int) -> list[Case]:
    """`count` prefixes, all kinds in turn, each of an answer of its own."""
    return [_case(number, KINDS[number % len(KINDS)]) for number in range(count)]


def _case(number: int, kind: str) -> Case:
    whole = answer(number)
    drawn = random.Random(f"{number} {kind}")
    places = [at for at in range(1, len(whole) - 40) if _is(whole, at, kind)]
    cut = drawn.choice(places) if places else 0
    return Case(question(number), whole, whole[:cut], kind)


def _is(text: str, at: int, kind: str) -> bool:
    """Whether the text up to `at` ends as the kind says."""
    before, after = text[at - 1], text[at]
    if kind == "space":
        return before == " "
    if kind == "newline":
        return before == "\n"
    if kind == "indent":
        return before in " \t" and "\n" in text[max(0, at - 5) : at] and not text[:at].rsplit("\n", 1)[1].strip(" \t")
    if kind == "half word":
        return before.isalpha() and after.isalpha()
    if kind == "emoji":
        return before > "\u2000"
    return kind == "anywhere"
