"""Where a text has parted from the student's draft, and how much of it is wanted still.

Texts only: no token, no provider. A student's tokenizer cuts the first word that differs; it can, once the word is
whole and something follows it that no tokenizer joins to it.
"""

from __future__ import annotations

import unicodedata
from itertools import takewhile

# A run without an end (a line of Chinese, an address) counts as whole after so many characters: tokens are shorter.
_LONGEST_WORD = 64
_APOSTROPHES = "'’"


def parted(draft: str, text: str) -> bool:
    """Whether everything up to the first word that differs from the draft has been written.

    Behind the draft's end whatever is written differs: the student has stopped there, or more is not compared. Breaks
    and signs belong to the word after them (" cat", ".com", "\\n\\nSo"), a word ends at the first character that is
    neither a letter nor a digit.
    """
    differing = text[_agreed(draft, text) :]
    if len(differing) > _LONGEST_WORD:
        return True
    start = sum(1 for _ in takewhile(lambda c: not _is_of_a_word(c), differing))
    word = sum(1 for _ in takewhile(lambda c: c in _APOSTROPHES or _is_of_a_word(c), differing[start:]))
    return word > 0 and start + word < len(differing)


def _agreed(draft: str, text: str) -> int:
    """How many characters both begin with."""
    if draft.startswith(text):
        return len(text)
    return next((at for at, (ours, theirs) in enumerate(zip(draft, text, strict=False)) if ours != theirs), len(draft))


def _is_of_a_word(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character).startswith("M")
