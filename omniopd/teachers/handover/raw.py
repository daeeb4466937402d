"""Handover by raw completion: the conversation rendered by us, the answer's beginning after it, the model goes on.

Exact for any prefix. Knows no network.
"""

from __future__ import annotations

from omniopd.teachers.catalogue import ModelTraits
from omniopd.teachers.handover.asked import Asked, Read, Unaskable
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.types import ContinuationRequest


class RawCompletion:
    """Token ids where the server takes them, else a text that holds no special token but the template's own."""

    name = "raw"
    exact = True

    def __init__(self, traits: ModelTraits, render: ChatTemplate) -> None:
        self.traits = traits
        self.render = render

    def ask(self, request: ContinuationRequest) -> Asked:
        check_text(request)
        messages, prefix = request.prompt.messages, request.prefix
        prompt: str | tuple[int, ...]
        prompt = self.render.ids(messages, prefix) if self.traits.takes_ids else self.render.text(messages, prefix)
        return Asked(prompt=prompt, parameters=dict(self.traits.parameters), prefix=prefix)

    def read(self, asked: Asked, text: str) -> Read:
        """The text as it came, without a last character that the limit of tokens has cut."""
        return Read(text.rstrip("\ufffd"))


def check_text(request: ContinuationRequest) -> None:
    """Raises Unaskable for what cannot be written as UTF-8 (half of a surrogate pair)."""
    texts = [request.prefix, *(message["content"] for message in request.prompt.messages)]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise Unaskable("a text holds half of a surrogate pair, which no request can carry") from error
