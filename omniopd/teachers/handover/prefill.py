"""Handover by prefill: the last message is the assistant's, unfinished, and the model goes on with it.

White space at the end that the provider refuses, or would encode in its own way, is not sent and has to come back: the
answers that begin with it are draws of the model's own distribution after the whole prefix. Knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omniopd.teachers.handover.base import (
    PREFIX_NOT_RETURNED,
    WHITESPACE_NOT_RESTORED,
    ParsedText,
    ProviderRequest,
    held_back,
    is_begun,
)
from omniopd.teachers.handover.chat import ChatHandover
from omniopd.types import ContinuationRequest


class Prefill(ChatHandover):
    """The prefix as the assistant's last message, marked as the provider wants it."""

    name = "prefill"
    exact = True

    def render(self, request: ContinuationRequest) -> ProviderRequest:
        messages = self.turns(request)
        prefix = request.prefix
        sent = self._sent(held_back(request)[0])
        if sent:
            last: dict[str, Any] = {"role": "assistant", "content": sent}
            if self.traits.prefill_mark:
                last[self.traits.prefill_mark] = True
            messages.append(last)
        unsent = prefix[len(sent) :]
        return ProviderRequest(
            messages=tuple(messages),
            parameters=dict(self.traits.parameters),
            unsent=unsent,
            extra_tokens=len(unsent) + self.traits.thinking_tokens,
            prefix=prefix,
            exact=not request.prefix_ids,  # how the provider tokenizes a text is not known
        )

    def parse(self, rendered: ProviderRequest, text: str) -> ParsedText:
        """The text without the prefix, where the provider returns it, and without the white space it restored."""
        sent = rendered.prefix.removesuffix(rendered.unsent)
        if self.traits.returns_prefix and sent:
            if not text.startswith(sent):
                return ParsedText(text, PREFIX_NOT_RETURNED)
            text = text.removeprefix(sent)
        if not text.startswith(rendered.unsent):
            return ParsedText(text, WHITESPACE_NOT_RESTORED)
        return ParsedText(text.removeprefix(rendered.unsent))

    def is_open(self, rendered: ProviderRequest, text: str) -> bool:
        return is_begun(rendered.prefix if self.traits.returns_prefix else rendered.unsent, text)

    def beyond_text(self, request: ContinuationRequest) -> Mapping[str, Any] | None:
        """White space that is held back though the provider takes it."""
        sent = self._sent(held_back(request)[0])
        return None if sent == self._sent(request.prefix) else {"unsent": request.prefix[len(sent) :]}

    def _sent(self, prefix: str) -> str:
        # An empty last message is refused, or filled with words by the adapter; white space alone counts as empty.
        return prefix if self.traits.trailing_whitespace and prefix.strip() else prefix.rstrip()
