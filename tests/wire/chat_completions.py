"""/chat/completions as OpenAI, DeepSeek and Mistral speak it: one format, three sets of rules."""

from __future__ import annotations

import itertools

from tests.wire.reading import ContinuationText, Turn, problem_with, refusal, tokens, write
from tests.wire.server import Received, Reply

MISTRAL_FIELDS = {"model", "messages", "max_tokens", "temperature", "top_p", "random_seed", "n", "stop", "stream",
                  "safe_prompt", "reasoning_effort"}  # fmt: skip
_numbers = itertools.count()


def openai(received: Received) -> Reply:
    """A last turn of the assistant's is over, not unfinished: the model answers after it, from the start."""
    body = received.body
    if problem := _refused(received, "/v1/chat/completions"):
        return problem
    count = body.get("n", 1)
    if count > 128:
        return refusal(400, "n must be at most 128")
    thinks = body["model"].startswith("gpt-5")
    if thinks and body.get("temperature", 1) != 1:
        return refusal(400, "Unsupported value: 'temperature' does not support this value with this model.")
    if thinks and "max_tokens" in body:
        return refusal(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    max_tokens = body.get("max_completion_tokens", body.get("max_tokens"))
    thoughts = (
        min(max_tokens, {"none": 0, "minimal": 0, "low": 300}.get(body.get("reasoning_effort", ""), 1500)) * thinks
    )
    turns = turns_of(received)
    if turns[-1].role == "assistant":
        turns = [turn for turn in turns if turn.role != "assistant"]
    written = write(turns, max_tokens - thoughts) if max_tokens > thoughts else ContinuationText("", False)
    return _completion(body["model"], [written] * count, thoughts)


def deepseek(received: Received) -> Reply:
    """Chat prefix completion: a last message of the assistant's with `prefix`, on the beta endpoint only."""
    body = received.body
    if problem := _refused(received, "/beta/chat/completions"):
        return problem
    if body.get("n", 1) > 1:
        return refusal(400, "Invalid n value (currently only n = 1 is supported)")
    last = body["messages"][-1]
    if last["role"] == "assistant" and not last.get("prefix"):
        return refusal(400, "The last message of an assistant must have prefix: true")
    if body.get("thinking", {}).get("type") != "disabled":
        return _completion(body["model"], [ContinuationText("", False)], body["max_tokens"], "Let me think.")
    return _completion(body["model"], [write(turns_of(received), body["max_tokens"])])


def mistral(received: Received) -> Reply:
    """A last message of the assistant's with `prefix`; the answer repeats it. Unknown fields are refused."""
    body = received.body
    if problem := _refused(received, "/v1/chat/completions"):
        return problem
    if unknown := set(body) - MISTRAL_FIELDS:
        return refusal(422, f"{sorted(unknown)[0]}: Extra inputs are not permitted")
    last = body["messages"][-1]
    if last["role"] == "assistant" and not last.get("prefix"):
        return refusal(
            400, "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
        )
    # Its tokenizers drop white space at the end of an assistant's message.
    begun = last["content"].rstrip() if last["role"] == "assistant" else ""
    turns = [*turns_of(received)[:-1], Turn("assistant", begun)] if begun else turns_of(received)
    written = write(turns, body["max_tokens"])
    return _completion(body["model"], [ContinuationText(begun + written.text, written.stopped)])


def turns_of(received: Received) -> list[Turn]:
    return [Turn(message["role"], message["content"]) for message in received.body["messages"]]


def _refused(received: Received, path: str) -> Reply | None:
    if received.path != path:
        return refusal(404, f"no such path: {received.path}")
    if not received.headers.get("Authorization", "").startswith("Bearer "):
        return refusal(401, "a key is required")
    problem = problem_with(turns_of(received))
    return refusal(400, problem) if problem else None


def _completion(model: str, written: list[ContinuationText], thoughts: int = 0, thinking: str | None = None) -> Reply:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": one.text}
            | ({"reasoning_content": thinking} if thinking else {}),
            "finish_reason": "stop" if one.stopped else "length",
        }
        for index, one in enumerate(written)
    ]
    spent = sum(tokens(one.text) for one in written) + thoughts
    return Reply(
        {
            "id": f"chatcmpl-{next(_numbers)}",
            "object": "chat.completion",
            "created": 1700000000,
            "model": model,
            "choices": choices,
            "usage": {"prompt_tokens": 100, "completion_tokens": spent, "total_tokens": 100 + spent},
        }
    )
