"""Beginnings of answers whose continuation is known, and what a text made of one: went on, restarted, lost a space.

Any capable model counts, spells and copies, so a text that does not go on says something about how the prefix was
handed over, and nothing about what the model knows. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omniopd.teachers.handover.cleaning import has_preamble, is_refusal
from omniopd.types import ContinuationRequest, Prompt

CONTINUES, SPACING, RESTARTS, OTHER = "continues", "space lost or added", "restarts", "something else"
PREAMBLE, REFUSAL, EMPTY, UNANSWERED = "preamble", "refusal", "nothing", "no answer"
THINKS = "thinking only"
_SAME = 8


@dataclass(frozen=True, slots=True)
class ContinuationProbe:
    """A question, the beginning of its answer, and with what any continuation starts. `ends_in` says what is hard."""

    ends_in: str
    question: str
    prefix: str
    expected: str

    def request(self, max_tokens: int = 16) -> ContinuationRequest:
        prompt = Prompt(f"known: {self.ends_in}", ({"role": "user", "content": self.question},))
        return ContinuationRequest(prompt, self.prefix, 1, max_tokens)


_COUNT = "Count from 1 to 30 in digits, separated by a comma and a space. Write nothing else."
_LETTERS = "Write the letters of the English alphabet in lower case, one per line. Write nothing else."
_FOX = "Copy this sentence and write nothing else: The quick brown fox jumps over the lazy dog near the old mill."
_ANIMALS = "Copy this line and write nothing else: The 🦊 jumps over the 🐶 twice before noon."
_CODE = (
    "Copy this Python function and write nothing else, no code fence either:\n"
    "def area(width, height):\n    result = width * height\n    return result"
)
KNOWN: tuple[ContinuationProbe, ...] = (
    ContinuationProbe("a digit", _COUNT, "1, 2, 3, 4, 5, 6, 7", ", 8, 9"),
    ContinuationProbe("a comma", _COUNT, "1, 2, 3, 4, 5, 6, 7, 8,", " 9, 10"),
    ContinuationProbe("a space", _COUNT, "1, 2, 3, 4, 5, 6, 7, ", "8, 9"),
    ContinuationProbe("a line", _LETTERS, "a\nb\nc\nd\ne", "\nf\ng"),
    ContinuationProbe("a line break", _LETTERS, "a\nb\nc\nd\ne\nf\n", "g\nh"),
    ContinuationProbe("a word", _FOX, "The quick brown fox", " jumps over"),
    ContinuationProbe("half a word", _FOX, "The quick brown fox ju", "mps over"),
    ContinuationProbe("a space after a word", _FOX, "The quick brown fox jumps over ", "the lazy"),
    ContinuationProbe("an emoji", _ANIMALS, "The 🦊", " jumps over"),
    ContinuationProbe("half a word, late", _ANIMALS, "The 🦊 jumps over the 🐶 tw", "ice before"),
    ContinuationProbe("an indent", _CODE, "def area(width, height):\n    ", "result = width"),
    ContinuationProbe("nothing yet", _FOX, "", "The quick brown"),
)
# What has many good continuations: whether draws differ shows here.
OPEN = ContinuationProbe(
    "an open question", "Invent a ship: its name, its captain, its cargo. One sentence each.", "The ship is called", ""
)


def classified(probe: ContinuationProbe, text: str | None, problem: str | None = None) -> str:
    """What a text made of a known beginning: one of the names above. `problem` is a handover's word on it."""
    if problem in (PREAMBLE, REFUSAL, THINKS):
        return problem
    if text is None or not text.strip():
        return EMPTY
    if text.startswith(probe.expected):
        return CONTINUES
    if is_refusal(text):
        return REFUSAL
    if has_preamble(text):
        return PREAMBLE
    if text.lstrip().startswith(probe.expected.lstrip()):
        return SPACING
    begun = probe.prefix.strip()[:_SAME]
    if begun and text.lstrip(" \n\"'`").startswith(begun):
        return RESTARTS
    return OTHER


def share(findings: Sequence[str], *of: str) -> float:
    """How many of the findings are among `of`, from 0 to 1; 0 of none."""
    return sum(finding in of for finding in findings) / len(findings) if findings else 0.0
