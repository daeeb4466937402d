"""How the model behind a server reads a conversation: what was asked, and the beginning of the answer, if any."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.wire.server import Reply
from tests.wire.truth import TOKEN_CHARACTERS, continuation

_QUOTED = re.compile(r"<([a-z]+-[a-z]+-[0-9a-f]+)>(.*)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Turn:
    """A role and a text, as the provider's own format names them."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class ContinuationText:
    """A text of the model's; `stopped` says that the answer was at its end."""

    text: str
    stopped: bool

    @property
    def tokens(self) -> int:
        return tokens(self.text)


def tokens(text: str) -> int:
    return -(-len(text) // TOKEN_CHARACTERS)


def write(turns: Sequence[Turn], max_tokens: int, assistant: str = "assistant") -> ContinuationText:
    """Go on with a last turn of the assistant's, or with what the last user turn quotes; else begin to answer."""
    asked = "\n".join(turn.text for turn in turns if turn.role != assistant)
    if turns[-1].role == assistant:
        begun = turns[-1].text
    else:
        quoted = _QUOTED.search(turns[-1].text)
        begun = quoted[2] if quoted else ""
    text = continuation(asked, begun, max_tokens)
    return ContinuationText(text, tokens(text) < max_tokens)


def problem_with(turns: Sequence[Turn], assistant: str = "assistant") -> str | None:
    """What all providers refuse: no turns, an empty one, or two of a role in a row."""
    if not turns:
        return "messages: at least one message is required"
    if any(not turn.text.strip() for turn in turns):
        return "messages: text content must be non-empty"
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if any(role == before for before, role in itertools.pairwise(spoken)) or spoken[:1] == [assistant]:
        return "messages: roles must alternate, starting with the user's"
    return None


def refusal(status: int, message: str) -> Reply:
    """An error as most providers write it."""
    return Reply({"error": {"type": "invalid_request_error", "message": message, "code": status}}, status)
