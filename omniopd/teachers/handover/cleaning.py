"""What a chat model puts around a continuation it was asked for: echoes, preambles, refusals.

Everything here is a guess about text. It errs towards leaving a text alone: a short overlap may be what comes next.
"""

from __future__ import annotations

import re

ECHO_CHARACTERS = 12
VERSION = 1  # to be raised where the functions below come to read a text otherwise; patterns count by themselves

_TASK = r"(?:help|assist|continue|provide|comply|answer|complete|do)\b"
_PREAMBLE = re.compile(
    r"""\s*(?:
        (?:sure|certainly|of\ course|absolutely|okay|ok|alright|understood|got\ it|great)\b[^\n]{0,120}
            (?:continu|complet|rest\b|remain|answer|solution|here)[^\n]{0,120}
      | (?:here(?:'s|’s|\ is|\ are)|below\ is|this\ is)\b[^\n]{0,60}(?:continu|complet|rest\b|remain)[^\n]{0,120}
      | (?:continuing\ (?:the|from|where|with)|i(?:'ll|’ll|\ will)\ continue|let\ me\ continue|the\ continuation)\b
            [^\n]{0,160}
    )(?::|\n|$)""",
    re.IGNORECASE | re.VERBOSE,
)
_REFUSAL = re.compile(
    rf"""\s*(?:
        (?:(?:i['’]?m|i\ am)\ (?:really\ |very\ |truly\ )?sorry|i\ apologi[sz]e|sorry)\b[^\n]{{0,60}}
            \b(?:can(?:['’]?t|not)|unable|won['’]?t|not\ able)\b
      | (?:i['’]?m|i\ am)\ (?:unable|not\ able|not\ going)\ to\ {_TASK}
      | i\ (?:can(?:['’]?t|not)|can\ not|won['’]?t|will\ not|must\ decline\ to)\ {_TASK}
      | as\ an\ ai\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)

# What the two patterns open with, by its first word, and the longest line that they match.
_OPENERS = (
    "sure", "certainly", "of", "absolutely", "okay", "ok", "alright", "understood", "got", "great", "here", "here's",
    "below", "this", "continuing", "i", "i'll", "let", "the", "i'm", "im", "sorry", "as",
)  # fmt: skip
_WORD = re.compile(r"[a-z']+")
_LONGEST_REMARK = 320


def how_texts_are_cleaned() -> str:
    """What changes with the rules of this file. Part of a cache's key, where cleaned texts are kept."""
    return repr((VERSION, ECHO_CHARACTERS, _PREAMBLE.pattern, _REFUSAL.pattern))


def without_echo(prefix: str, text: str) -> str:
    """The text without a repetition of the prefix, or of its end, at its beginning.

    A repetition of fewer than 12 characters, or of one short pattern, may well be what comes next, and stays.
    """
    for start in dict.fromkeys((0, len(text) - len(text.lstrip()))):
        candidate = text[start:]
        length = _overlap(prefix, candidate)
        if length >= ECHO_CHARACTERS and not _repeats(candidate[:length]):
            return candidate[length:]
    return text


def has_preamble(text: str) -> bool:
    """Whether the text opens with a remark about itself ("Sure, here is the continuation:")."""
    return _PREAMBLE.match(text) is not None


def is_refusal(text: str) -> bool:
    """Whether the text declines the request."""
    return _REFUSAL.match(text) is not None


def may_become_remark(text: str) -> bool:
    """Whether a text that is being written may turn out to be a preamble or a refusal: it has opened with a word that
    one opens with, or with a part of it, and its first line is neither over nor too long for one."""
    line = text.lstrip().lower().replace("’", "'")
    if "\n" in line or len(line) > _LONGEST_REMARK:
        return False
    word = _WORD.match(line)
    begun = word[0] if word else ""
    return begun in _OPENERS or (begun == line and any(opener.startswith(begun) for opener in _OPENERS))


def may_become_echo(prefix: str, text: str) -> bool:
    """Whether a text that is being written may turn out to repeat the end of the prefix: it is in it until now."""
    return text in prefix or text.lstrip() in prefix


def _overlap(prefix: str, text: str) -> int:
    """The length of the longest end of `prefix` that `text` begins with."""
    longest = min(len(prefix), len(text))
    return next((n for n in range(longest, ECHO_CHARACTERS - 1, -1) if prefix.endswith(text[:n])), 0)


def _repeats(text: str) -> bool:
    """Whether the text is one pattern of at most a third of its length, again and again ("= = = =")."""
    return 0 < (text + text).find(text, 1) <= max(1, len(text) // 3)
