"""What a handover makes of a request, and of an answer: the values between it and whoever sends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omniopd.config import HANDOVERS
from omniopd.types import HALF_CHARACTER, ContinuationRequest, is_writable

WHITESPACE_NOT_RESTORED = "whitespace not restored"
PREFIX_NOT_RETURNED = "prefix not returned"
PREAMBLE = "preamble"
REFUSAL = "refusal"


class UnsupportedRequest(Exception):
    """A request that cannot be handed over faithfully: its fork stays unaudited, for `reason`. Never sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """What is sent: `messages` to a chat endpoint, or `prompt` (a text, or token ids) to a completion endpoint.

    `parameters` go into the call as they are. `unsent` is white space from the end of the prefix that the provider
    refuses: the answer has to restore it. `extra_tokens` are allowed on top of the continuation's (white space to
    restore, thinking). `prefix` is the text that was to be continued, `quoted` the tag around it in an instruction.
    `exact`: what is continued are the student's own tokens (`Continuations.exact`).
    """

    messages: tuple[Mapping[str, Any], ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    unsent: str = ""
    extra_tokens: int = 0
    prefix: str = ""
    quoted: str = ""
    exact: bool = True


@dataclass(frozen=True, slots=True)
class ParsedText:
    """The continuation in an answer's text; with a `problem` it does not count, and another is drawn.

    `echoed` says that a repeated end of the prefix was cut off its beginning. Text that no file can hold is a problem.
    """

    text: str
    problem: str | None = None
    echoed: bool = False

    def __post_init__(self) -> None:
        if not is_writable(self.text):
            object.__setattr__(self, "text", "")
            object.__setattr__(self, "problem", self.problem or HALF_CHARACTER)


class Handover:
    """How a prefix is shown to a model: each is built with the model's traits, its chat template where it `completes`
    bare prompts, and whether the student's own template opens `<think>`.

    `exact`: what comes follows the very text, which the model takes for its own, and not a paraphrase of the request.
    (Whether it follows the student's very tokens depends on the request: `ProviderRequest.exact`.)
    """

    name: str
    exact: bool

    @property
    def identity(self) -> Mapping[str, Any]:
        """What changes where a request is written, or an answer read, in another way. Part of a cache's key."""
        return {}

    @property
    def completes(self) -> bool:
        """Whether it sends a bare prompt to a completion endpoint."""
        return HANDOVERS[self.name].completes

    def render(self, request: ContinuationRequest) -> ProviderRequest:
        """What to send. Raises UnsupportedRequest for a request that this handover cannot show faithfully."""
        raise NotImplementedError

    def parse(self, rendered: ProviderRequest, text: str) -> ParsedText:
        """What the model wrote after the prefix: echo, tags and restored white space taken off.

        A `problem` means that the text does not count and the draw is repeated.
        """
        raise NotImplementedError

    def is_open(self, rendered: ProviderRequest, text: str) -> bool:
        """Whether more of a text that is being written may change what `parse` makes of what is there by now. Where
        that is not known, as here, a stream is read to its end."""
        return True

    def beyond_text(self, request: ContinuationRequest) -> Mapping[str, Any] | None:
        """What else than prompt and prefix, as texts, changes what is sent. Part of a cache's key."""
        return None


def is_begun(expected: str, text: str) -> bool:
    """Whether a text that is being written is a beginning of what it has to begin with."""
    return len(text) < len(expected) and expected.startswith(text)


def check_text(request: ContinuationRequest) -> None:
    """Raises UnsupportedRequest for what cannot be written as UTF-8 (half of a surrogate pair)."""
    if not all(map(is_writable, (request.prefix, *(message["content"] for message in request.prompt.messages)))):
        raise UnsupportedRequest(f"{HALF_CHARACTER}, which no request can carry")


def held_back(request: ContinuationRequest) -> tuple[str, str]:
    """The prefix in two: what is sent, and white space from its end, which the answer has to bring back.

    White space that a text ends in becomes a token which the student's need not have been, and after which a model only
    ever writes what is rare there (a paragraph break: nothing but digits, with one tokenizer). Where the student's ids
    cannot go over, the model writes that white space itself; answers that begin with it are draws of its own
    distribution after the prefix. Without the student's ids the text is all there is, and is sent as it is.
    """
    prefix = request.prefix
    sent = prefix if request.prefix_ids is None else prefix.rstrip()
    return sent, prefix[len(sent) :]
