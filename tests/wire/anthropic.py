"""The Messages API of Anthropic, with the rules that concern a prefix and its sampling."""

from __future__ import annotations

from typing import Any

from tests.wire.reading import Turn, problem_with, refusal, write
from tests.wire.server import Received, Reply

FIELDS = {"model", "messages", "max_tokens", "system", "temperature", "top_p", "top_k", "stop_sequences", "thinking",
          "metadata", "stream", "output_config"}  # fmt: skip


def answer(received: Received) -> Reply:
    body = received.body
    model = body.get("model", "")
    prefills, samples = model.startswith("claude-haiku-4-5"), "5-5" not in model
    if received.path != "/v1/messages":
        return refusal(404, f"no such path: {received.path}")
    if not received.headers.get("x-api-key"):
        return refusal(401, "x-api-key header is required")
    if unknown := set(body) - FIELDS:
        return refusal(400, f"{sorted(unknown)[0]}: Extra inputs are not permitted")
    turns = turns_of(received)
    if problem := problem_with(turns):
        return refusal(400, problem)
    last = turns[-1]
    if last.role == "assistant" and not prefills:
        return refusal(400, "This model does not support assistant message prefill. The conversation must end with a "
                            "user message.")  # fmt: skip
    if last.role == "assistant" and last.text != last.text.rstrip():
        return refusal(400, "messages: final assistant content cannot end with trailing whitespace")
    if "temperature" in body and "top_p" in body:
        return refusal(400, "`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    if not samples and {"temperature", "top_p", "top_k"} & set(body):
        return refusal(400, "temperature, top_p and top_k are not supported by this model")
    written = write(turns, body["max_tokens"])
    return Reply(
        {
            "id": f"msg_{len(written.text)}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": written.text}] if written.text else [],
            "stop_reason": "end_turn" if written.stopped else "max_tokens",
            "stop_sequence": None,
            "usage": {"input_tokens": 100, "output_tokens": written.tokens},
        }
    )


def turns_of(received: Received) -> list[Turn]:
    said = [Turn(message["role"], _text(message["content"])) for message in received.body["messages"]]
    system = received.body.get("system")
    return [Turn("system", _text(system)), *said] if system else said


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)
