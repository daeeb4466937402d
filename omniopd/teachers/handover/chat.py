"""What the handovers by chat messages share: which conversations can be sent as they are."""

from __future__ import annotations

from typing import Any

from omniopd.teachers.handover.base import UnsupportedRequest, check_text, conversation
from omniopd.teachers.handover.special_tokens import spelled_special
from omniopd.teachers.handover.thinking import OPEN, inside_thought
from omniopd.types import ContinuationRequest


def turns(request: ContinuationRequest, student_thinks: bool) -> list[dict[str, Any]]:
    """The turns of the prompt. Raises UnsupportedRequest where adapter or provider would rewrite them or add turns.

    Adapters merge turns of one role, put words into empty ones and drop roles they do not know; servers may read the
    spelling of a special token as the token.
    """
    check_text(request)
    messages = conversation(request.prompt.messages)
    roles = [message["role"] for message in messages]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2) + ["user"]:
        raise UnsupportedRequest(
            f"the prompt's turns are {', '.join(roles) or 'none'}: chat models take user and assistant in turn, from "
            "user to user, after one system message at most"
        )
    if any(not message["content"].strip() for message in messages):
        raise UnsupportedRequest("a message of the prompt is empty, which adapters fill with words of their own")
    for text in (request.prefix, *(message["content"] for message in messages)):
        if found := spelled_special(text):
            raise UnsupportedRequest(f"a text spells the special token {found!r}, and the provider takes no token ids")
    if inside_thought(request.prefix, student_thinks if request.in_thought is None else request.in_thought):
        raise UnsupportedRequest(f"the prefix ends inside {OPEN}, and a chat message cannot hold half a thought")
    return messages
