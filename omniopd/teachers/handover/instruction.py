"""Handover by instruction: the problem, the partial answer quoted, and the request to go on exactly where it stops.

For models that continue no message of their own. Not exact: the model reads about the prefix instead of having written
it. Knows no network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from omniopd.teachers.handover.base import PREAMBLE, REFUSAL, ParsedText, ProviderRequest, is_begun
from omniopd.teachers.handover.chat import ChatHandover
from omniopd.teachers.handover.cleaning import (
    has_preamble,
    how_texts_are_cleaned,
    is_refusal,
    may_become_echo,
    may_become_remark,
    without_echo,
)
from omniopd.types import ContinuationRequest

_INSTRUCTION = """

---
An answer to this has been begun. It stands between the two tags and breaks off, perhaps within a line or a word:

<{tag}>{prefix}</{tag}>

Continue that answer from exactly where it stops. Write only what follows its last character, starting with the very \
next one (a space or a line break, if that comes next). Repeat nothing of it, do not start over, and put no remark, \
quotation mark, tag or code fence around what you write."""
# The digest of wording and cleaning that keys of a cache do not name; a changed wording names its own.
_UNNAMED = "011bfbc965dcabaa"


class Instruction(ChatHandover):
    """The prefix quoted in the last user message, between tags that no text of the request contains."""

    name = "instruction"
    exact = False

    @property
    def identity(self) -> Mapping[str, Any]:
        """The wording, where it is not the one that answers had been kept for without naming it."""
        digest = hashlib.sha256(f"{_INSTRUCTION}\0{how_texts_are_cleaned()}".encode()).hexdigest()[:16]
        return {} if digest == _UNNAMED else {"wording": digest}

    def render(self, request: ContinuationRequest) -> ProviderRequest:
        messages = self.turns(request)
        tag = ""
        if request.prefix:
            tag = _tag(request)
            messages[-1]["content"] += _INSTRUCTION.format(tag=tag, prefix=request.prefix)
        return ProviderRequest(
            messages=tuple(messages),
            parameters=dict(self.traits.parameters),
            extra_tokens=self.traits.thinking_tokens,
            prefix=request.prefix,
            quoted=tag,
            exact=False,
        )

    def parse(self, rendered: ProviderRequest, text: str) -> ParsedText:
        """The text without tags and echo; a preamble or a refusal is a problem."""
        if not rendered.quoted:  # nothing was begun: whatever comes is the answer
            return ParsedText(text, REFUSAL if is_refusal(text) else None)
        text = text.removeprefix(f"<{rendered.quoted}>").removesuffix(f"</{rendered.quoted}>")
        if is_refusal(text):
            return ParsedText(text, REFUSAL)
        if has_preamble(text):
            return ParsedText(text, PREAMBLE)
        clean = without_echo(rendered.prefix, text)
        return ParsedText(clean, echoed=clean != text)

    def is_open(self, rendered: ProviderRequest, text: str) -> bool:
        """While it may be a remark, a repetition or a tag still, of which the beginning looks like an answer."""
        if may_become_remark(text):
            return True
        if not rendered.quoted:
            return False
        opening, closing = f"<{rendered.quoted}>", f"</{rendered.quoted}>"
        if is_begun(opening, text) or any(text.endswith(closing[:length]) for length in range(1, len(closing) + 1)):
            return True
        return may_become_echo(rendered.prefix, text.removeprefix(opening))


def _tag(request: ContinuationRequest) -> str:
    """A tag that occurs in none of the request's texts; the same request always gets the same one."""
    texts = "\0".join([request.prefix, *(message["content"] for message in request.prompt.messages)])
    salt = 0
    while True:
        tag = "partial-answer-" + hashlib.sha256(f"{salt}\0{texts}".encode()).hexdigest()[:12]
        if tag not in texts:
            return tag
        salt += 1
