"""The generateContent API of Gemini: a last turn of the model's is continued up to 3.1; thinking eats the tokens."""

from __future__ import annotations

import re

from tests.wire.reading import Turn, problem_with, refusal, write
from tests.wire.server import Received, Reply

MOST_CANDIDATES = 8
THOUGHTS = {"minimal": 0, "low": 900, "medium": 2000, "high": 4000}


def answer(received: Received) -> Reply:
    found = re.search(r"models/(gemini-[\w.-]+):generateContent$", received.path)
    if found is None:
        return refusal(404, f"no such path: {received.path}")
    if not (received.headers.get("x-goog-api-key") or received.query.get("key")):
        return refusal(403, "API key required")
    model = found[1]
    modern = re.match(r"gemini-(3\.[5-9]|[4-9])", model) is not None
    turns = turns_of(received)
    if problem := problem_with(turns, "model"):
        return refusal(400, problem)
    if turns[-1].role == "model" and modern:
        return refusal(400, "Requests ending with a model turn are not supported.")
    settings = received.body.get("generationConfig", {})
    count = settings.get("candidate_count", settings.get("candidateCount", 1))
    if count > (1 if modern else MOST_CANDIDATES):
        return refusal(400, f"candidateCount must be at most {MOST_CANDIDATES}")
    max_tokens = settings.get("max_output_tokens", settings.get("maxOutputTokens"))
    thoughts = _thoughts(settings.get("thinkingConfig", {}), model, modern)
    if thoughts >= max_tokens:
        candidates = [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": i} for i in range(count)]
        return _reply(candidates, model, 0, max_tokens)
    written = write(turns, max_tokens - thoughts, "model")
    content = {"role": "model", "parts": [{"text": written.text}]}
    reason = "STOP" if written.stopped else "MAX_TOKENS"
    candidates = [{"content": content, "finishReason": reason, "index": i} for i in range(count)]
    return _reply(candidates, model, written.tokens * count, thoughts)


def turns_of(received: Received) -> list[Turn]:
    said = [Turn(turn["role"], "".join(part["text"] for part in turn["parts"])) for turn in received.body["contents"]]
    system = received.body.get("system_instruction", received.body.get("systemInstruction"))
    return [Turn("system", system["parts"][0]["text"]), *said] if system else said


def _thoughts(config: dict, model: str, modern: bool) -> int:
    """Tokens spent before the first word."""
    if model.startswith("gemini-2.0"):
        return 0
    if "thinkingLevel" in config:
        return max(THOUGHTS[config["thinkingLevel"]], 900 if modern else 0)
    return config.get("thinkingBudget", 1000)


def _reply(candidates: list[dict], model: str, written: int, thoughts: int) -> Reply:
    usage = {"promptTokenCount": 100, "candidatesTokenCount": written, "thoughtsTokenCount": thoughts,
             "totalTokenCount": 100 + written + thoughts}  # fmt: skip
    return Reply({"candidates": candidates, "modelVersion": model, "usageMetadata": usage, "responseId": "r"})
