"""What a question may be, wherever it comes from: a file, a data set, a list in Python. Knows no tokenizer.

Everything else is refused in one sentence with its place, before a template or a tokenizer dies of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from omniopd.errors import DataError
from omniopd.types import Message

WAY_OUT = 'give a text, or a list of messages such as {"role": "user", "content": "…"}'
_HALF = re.compile("[\ud800-\udfff]")
_LONGEST = 80  # characters of a wrong value that an error shows


def conversation(prompt: Any, here: str) -> tuple[Message, ...]:
    """The messages of a prompt; a text is a user's. Keys other than role and content are left out.

    Raises DataError, which begins with `here`: for nothing, for messages without a role or a text, and for half a
    surrogate pair, which no tokenizer reads.
    """
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not isinstance(messages, list | tuple) or not messages or not all(map(_is_message, messages)):
        raise DataError(f"{here}: the prompt is {excerpt(prompt)}: {WAY_OUT}")
    if isinstance(prompt, str) and not prompt.strip():
        raise DataError(f"{here}: the prompt is {excerpt(prompt)}: {WAY_OUT}")
    for message in messages:
        for text in (message["role"], message["content"]):
            require_whole(text, f"{here}: the prompt")
    return tuple({"role": message["role"], "content": message["content"]} for message in messages)


def require_whole(text: str, what: str) -> None:
    """DataError for half a surrogate pair in `what`."""
    half = _HALF.search(text)
    if half is not None:
        near = text[max(0, half.start() - 20) : half.start() + 20]
        raise DataError(
            f"{what} holds half a surrogate pair (in {near!a}), which no tokenizer reads: correct the text, or leave "
            "it out"
        )


def excerpt(value: Any) -> str:
    """A value as Python writes it, in letters that every terminal has, cut where it is long."""
    try:
        shown = ascii(value[: 2 * _LONGEST] if isinstance(value, str) else value)
    except (ValueError, RecursionError):  # a number of too many digits, a list that holds itself
        return f"{type(value).__name__} that is too large to be shown"
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _is_message(message: Any) -> bool:
    return (
        isinstance(message, Mapping)
        and all(isinstance(message.get(key), str) for key in ("role", "content"))
        and bool(message["role"].strip())
    )
