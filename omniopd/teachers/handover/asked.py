"""What a handover makes of a request, and of an answer: the values between it and whoever sends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from omniopd.types import ContinuationRequest, Message

WHITESPACE_NOT_RESTORED = "whitespace not restored"
PREFIX_NOT_RETURNED = "prefix not returned"
PREAMBLE = "preamble"
REFUSAL = "refusal"


class Unaskable(Exception):
    """A request that cannot be handed over faithfully: its fork stays unaudited, for `reason`. Never sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Asked:
    """What is sent: `messages` to a chat endpoint, or `prompt` (a text, or token ids) to a completion endpoint.

    `parameters` go into the call as they are. `unsent` is white space from the end of the prefix that the provider
    refuses: the answer has to restore it. `extra_tokens` are allowed on top of the continuation's (white space to
    restore, thinking). `prefix` is the text that was to be continued, `quoted` the tag around it in an instruction.
    """

    messages: tuple[Mapping[str, Any], ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    unsent: str = ""
    extra_tokens: int = 0
    prefix: str = ""
    quoted: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    """The continuation in an answer's text; with a `problem` it is no continuation, and another is to be drawn.

    `echoed` says that a repeated end of the prefix was cut off its beginning.
    """

    text: str
    problem: str | None = None
    echoed: bool = False


class Handover(Protocol):
    """How a prefix is shown to a model. `exact`: it continues the very bytes, not a paraphrase of the request."""

    name: str
    exact: bool

    def ask(self, request: ContinuationRequest) -> Asked:
        """Raises Unaskable."""
        ...

    def read(self, asked: Asked, text: str) -> Read: ...


def conversation(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """The turns of a prompt: role and content alone."""
    return [{"role": message["role"], "content": message["content"]} for message in messages]
