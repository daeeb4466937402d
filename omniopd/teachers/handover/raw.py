"""Handover by raw completion: the conversation rendered by us, the answer's beginning after it, the model goes on.

The student's own token ids where the server takes ids and reads them as the student does. Knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omniopd.teachers.handover.base import WHITESPACE_NOT_RESTORED, ParsedText, ProviderRequest
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.model_traits import ModelTraits
from omniopd.types import ContinuationRequest


class RawCompletion:
    """Token ids where the server takes them, else a text that holds no special token but the template's own."""

    name = "raw"
    exact = True

    def __init__(self, traits: ModelTraits, render: ChatTemplate) -> None:
        self.traits = traits
        self.render = render

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"template": self.render.mark}

    def ask(self, request: ContinuationRequest) -> ProviderRequest:
        shown = self.render.shown(request) if self.traits.takes_ids else self.render.written(request)
        return ProviderRequest(
            prompt=shown.ids if self.traits.takes_ids else shown.text,
            parameters=dict(self.traits.parameters),
            unsent=shown.unsent,
            extra_tokens=len(shown.unsent),
            prefix=request.prefix,
            exact=shown.exact,
        )

    def read(self, asked: ProviderRequest, text: str) -> ParsedText:
        """The text as it came, without the white space it restored, and a last character that the limit has cut."""
        if not text.startswith(asked.unsent):
            return ParsedText(text, WHITESPACE_NOT_RESTORED)
        return ParsedText(text.removeprefix(asked.unsent).rstrip("\ufffd"))

    def beyond_text(self, request: ContinuationRequest) -> Mapping[str, Any] | None:
        return self.render.beyond_text(request, self.traits.takes_ids)
