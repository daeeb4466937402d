"""How a text ended, in the provider's own word: by itself, at its limit, by a filter, or broken off.

Read from the answer as it came: litellm makes "stop" of every word it does not know, and of none at all. A word counts
only if its wire is known to mean it. Knows the forms of answers and nothing of texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# A text is evidence if it ended by itself, or was cut at its limit (or by a stop sequence of the user's).
STOP, LENGTH = "stop", "length"
# It is not if a filter stopped it, if the provider broke it off, or if its end is not stated.
REFUSED, BROKEN, UNSAID = "refused", "broken off", "no finish reason"
PARTED = "parted from the draft"  # a streamed text that was left here, since no more of it is of use


def _words(stop: str, length: str, refused: str, broken: str) -> dict[str, str]:
    kinds = {STOP: stop, LENGTH: length, REFUSED: refused, BROKEN: broken}
    return {word: kind for kind, words in kinds.items() for word in words.split()}


# "choices": OpenAI's two endpoints and whoever speaks like them.
_CHOICES = _words(
    "stop eos eos_token",
    "length max_tokens stop_sequence",
    "content_filter content_filtered refusal safety recitation sensitive guardrail_intervened",
    "abort error insufficient_system_resource model_length model_context_window_exceeded repetition network_error "
    "cancelled time_limit timeout tool_calls tool_use function_call pause_turn",
)
_GEMINI = _words(
    "STOP",
    "MAX_TOKENS",
    "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII MODEL_ARMOR ESCALATION IMAGE_SAFETY "
    "IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION",
    "OTHER MALFORMED_FUNCTION_CALL MALFORMED_RESPONSE UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS NO_IMAGE IMAGE_OTHER "
    "MISSING_THOUGHT_SIGNATURE",
)
_ANTHROPIC = _words(
    "end_turn",
    "max_tokens stop_sequence",
    "refusal",
    "tool_use pause_turn compaction model_context_window_exceeded",
)
_CONVERSE = _words(
    "end_turn",
    "max_tokens stop_sequence",
    "guardrail_intervened content_filtered",
    "tool_use model_context_window_exceeded malformed_model_output malformed_tool_use",
)
_COHERE = _words(
    "COMPLETE", "MAX_TOKENS STOP_SEQUENCE", "ERROR_TOXIC", "ERROR ERROR_LIMIT TIMEOUT TOOL_CALL USER_CANCEL"
)
_OLLAMA = _words("stop", "length", "", "load unload")


@dataclass(frozen=True, slots=True)
class Ending:
    """One text's end: which choice it was by the provider's count (None: not said), one of the kinds above, and the
    provider's word for it ("" where it sent none, or nothing like a word)."""

    index: int | None
    kind: str
    word: str = ""


def read(body: bytes) -> tuple[Mapping[str, Any], bytes]:
    """An answer, of a form that says how its texts ended, and what litellm is to see of it.

    Raises ValueError for anything else: what litellm cannot read, it searches for keys, for seconds. Of choices it sees
    the fields that are used here.
    """
    answer = parsed(body)
    if not isinstance(answer, Mapping):
        raise ValueError("it is no JSON object")
    if endings(answer) is None:
        raise ValueError(words(answer) or "its form does not say how a text ended")
    if not counts(answer.get("usage", answer.get("usageMetadata"))):
        raise ValueError("its usage is not a count of tokens")
    return answer, _plain(answer) if "choices" in answer else body


_NAMES = ("id", "object", "model", "system_fingerprint", "service_tier")
_THOUGHTS = ("reasoning_content", "reasoning")


def _plain(answer: Mapping[str, Any]) -> bytes:
    choices = []
    for number, choice in enumerate(answer["choices"]):
        said = choice.get("message")
        if said is None:
            texts: dict[str, Any] = {"text": choice.get("text")}
        else:
            thoughts = {name: said[name] for name in _THOUGHTS if isinstance(said.get(name), str)}
            texts = {"message": {"role": "assistant", "content": said.get("content"), **thoughts}}
        choices.append({"index": number, "finish_reason": "stop", "logprobs": None, **texts})
    names = {name: answer[name] for name in _NAMES if isinstance(answer.get(name), str)}
    usage = {"usage": answer["usage"]} if answer.get("usage") is not None else {}
    return json.dumps({"created": 0, **names, "choices": choices, **usage}).encode()


def counts(usage: Any) -> bool:
    """Whether what an answer says of its tokens, if anything, are numbers."""
    if not isinstance(usage, Mapping | None):
        return False
    return all(_is_count(name.lower(), value) for name, value in (usage or {}).items())


def _is_count(name: str, value: Any) -> bool:
    if name.endswith("details"):
        return isinstance(value, Mapping | list | None)
    if name == "tokens" and isinstance(value, Mapping):  # Cohere's counts
        return counts(value)
    is_number = isinstance(value, int | str | None) or (isinstance(value, float) and value.is_integer())
    return is_number or not name.endswith(("tokens", "tokencount"))  # seconds to a token are no count


def parsed(body: bytes) -> Any:
    """A body's JSON; None for anything else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def words(answer: Any, depth: int = 0) -> str:
    """The sentence in which an answer says what is wrong; "" where there is none."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, list) and depth < 4:
        return next((found for part in answer[:3] if (found := words(part, depth + 1))), "")
    if isinstance(answer, Mapping) and depth < 4:
        for name in ("error", "message", "detail", "msg", "title"):
            if found := words(answer.get(name), depth + 1):
                return found
    return ""


def endings(answer: Mapping[str, Any]) -> list[Ending] | None:
    """The end of each text of an answer, in its order; None for an answer of no known form."""
    if isinstance(answer.get("choices"), list):
        choices = answer["choices"]
        return [_of_choice(choice) for choice in choices] if all(map(_is_choice, choices)) else None
    if isinstance(answer.get("candidates"), list) or "promptFeedback" in answer:
        return _of_gemini(answer)
    if "stopReason" in answer:
        return [_ending(None, answer["stopReason"], _CONVERSE)]
    if "stop_reason" in answer or answer.get("type") == "message":
        return [_ending(None, answer.get("stop_reason"), _ANTHROPIC)] if _is_list(answer.get("content")) else None
    if "done" in answer or "done_reason" in answer:
        return [_ending(None, answer.get("done_reason"), _OLLAMA)]
    if "finish_reason" in answer:
        return [_ending(None, answer["finish_reason"], _COHERE)]
    if isinstance(answer.get("output"), list) and "status" in answer:
        return [_of_response(answer)]
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def _is_choice(choice: Any) -> bool:
    if not isinstance(choice, Mapping):
        return False
    message = choice.get("message")
    if message is None:
        return isinstance(choice.get("text"), str | None)
    return isinstance(message, Mapping) and isinstance(message.get("content"), str | list | None)


def _ending(index: Any, word: Any, meaning: Mapping[str, str]) -> Ending:
    is_word = isinstance(word, str) and 0 < len(word) <= 40 and word.isascii() and word.isprintable()
    number = index if isinstance(index, int) and not isinstance(index, bool) else None
    return Ending(number, meaning.get(word, UNSAID) if is_word else UNSAID, word if is_word else "")


def _of_choice(choice: Mapping[str, Any]) -> Ending:
    ending = _ending(choice.get("index"), choice.get("finish_reason"), _CHOICES)
    message = choice.get("message")
    said = message if isinstance(message, Mapping) else {}
    if said.get("refusal"):
        return Ending(ending.index, REFUSED, "refusal")
    if said.get("tool_calls") or said.get("function_call"):
        return Ending(ending.index, BROKEN, "tool_calls")
    # vLLM: the string that the user wanted texts to stop at. The model's own end is None, or a token's number.
    at = choice.get("stop_reason")
    if ending.kind == STOP and isinstance(at, str) and _CHOICES.get(at, _ANTHROPIC.get(at)) != STOP:
        return Ending(ending.index, LENGTH, "stop_sequence")
    return ending


def _of_gemini(answer: Mapping[str, Any]) -> list[Ending] | None:
    candidates = answer.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        feedback = answer.get("promptFeedback")
        blocked = isinstance(feedback, Mapping) and feedback.get("blockReason")
        return [Ending(None, REFUSED, "blocked")] if blocked else []
    if not _is_list(candidates):
        return None
    found = []
    for candidate in candidates:
        if "content" in candidate or "finishReason" in candidate:  # litellm leaves others out
            ending = _ending(candidate.get("index"), candidate.get("finishReason"), _GEMINI)
            called = any(isinstance(part, Mapping) and part.get("functionCall") for part in _parts(candidate))
            found.append(Ending(ending.index, BROKEN, "functionCall") if called else ending)
    return found


def _parts(candidate: Mapping[str, Any]) -> list[Any]:
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, Mapping) else None
    return parts if isinstance(parts, list) else []


def _of_response(answer: Mapping[str, Any]) -> Ending:
    """OpenAI's Responses, which litellm asks for models that have no chat endpoint."""
    details = answer.get("incomplete_details")
    why = details.get("reason") if isinstance(details, Mapping) else None
    word = answer["status"] if answer["status"] != "incomplete" else why
    return _ending(
        None, word, _words("completed", "max_output_tokens", "content_filter", "failed cancelled in_progress queued")
    )
