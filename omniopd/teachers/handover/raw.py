"""Handover by raw completion: the conversation rendered by us, the answer's beginning after it, the model goes on.

The student's own token ids where the server takes ids and reads them as the student does. Knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omniopd.teachers.handover.base import WHITESPACE_NOT_RESTORED, Handover, ParsedText, ProviderRequest, is_begun
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.model_traits import ModelTraits
from omniopd.types import ContinuationRequest


class RawCompletion(Handover):
    """Token ids where the server takes them, else a text that holds no special token but the template's own."""

    name = "raw"
    exact = True

    def __init__(self, traits: ModelTraits, template: ChatTemplate, student_thinks: bool = False) -> None:
        self.traits, self.template = traits, template

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"template": self.template.mark}

    def render(self, request: ContinuationRequest) -> ProviderRequest:
        shown = self.template.shown(request) if self.traits.takes_ids else self.template.written(request)
        return ProviderRequest(
            prompt=shown.ids if self.traits.takes_ids else shown.text,
            parameters=dict(self.traits.parameters),
            unsent=shown.unsent,
            extra_tokens=len(shown.unsent),
            prefix=request.prefix,
            exact=shown.exact,
        )

    def parse(self, rendered: ProviderRequest, text: str) -> ParsedText:
        """The text as it came, without the white space it restored, and a last character that the limit has cut."""
        if not text.startswith(rendered.unsent):
            return ParsedText(text, WHITESPACE_NOT_RESTORED)
        return ParsedText(text.removeprefix(rendered.unsent).rstrip("\ufffd"))

    def is_open(self, rendered: ProviderRequest, text: str) -> bool:
        return is_begun(rendered.unsent, text)

    def beyond_text(self, request: ContinuationRequest) -> Mapping[str, Any] | None:
        return self.template.beyond_text(request, self.traits.takes_ids)
