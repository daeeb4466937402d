"""What the handovers by chat messages share: which conversations can be sent as they are."""

from __future__ import annotations

from typing import Any

from omniopd.teachers.handover.base import Handover, UnsupportedRequest, check_text
from omniopd.teachers.handover.special_tokens import spelled_special
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.handover.thinking import OPEN, inside_thought
from omniopd.teachers.model_traits import ModelTraits
from omniopd.types import ContinuationRequest


class ChatHandover(Handover):
    """A handover by chat messages, which renders with no template of ours."""

    def __init__(
        self, traits: ModelTraits, template: ChatTemplate | None = None, student_thinks: bool = False
    ) -> None:
        self.traits, self.student_thinks = traits, student_thinks

    def turns(self, request: ContinuationRequest) -> list[dict[str, Any]]:
        """The turns of the prompt. Raises UnsupportedRequest where adapter or provider would rewrite them or add turns.

        Adapters merge turns of one role, put words into empty ones and drop roles they do not know; servers may read
        the spelling of a special token as the token.
        """
        check_text(request)
        messages: list[dict[str, Any]] = [{"role": m["role"], "content": m["content"]} for m in request.prompt.messages]
        roles = [message["role"] for message in messages]
        spoken = roles[1:] if roles[:1] == ["system"] else roles
        if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2) + ["user"]:
            raise UnsupportedRequest(
                f"the prompt's turns are {', '.join(roles) or 'none'}: chat models take user and assistant in turn, "
                "from user to user, after one system message at most"
            )
        if any(not message["content"].strip() for message in messages):
            raise UnsupportedRequest("a message of the prompt is empty, which adapters fill with words of their own")
        for text in (request.prefix, *(message["content"] for message in messages)):
            if spelling := spelled_special(text):
                raise UnsupportedRequest(
                    f"a text spells the special token {spelling!r}, and the provider takes no token ids"
                )
        if inside_thought(request.prefix, self.student_thinks if request.in_thought is None else request.in_thought):
            raise UnsupportedRequest(f"the prefix ends inside {OPEN}, and a chat message cannot hold half a thought")
        return messages
