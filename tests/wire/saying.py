"""Each wire's answer, written out by hand: these texts, ended by these words, with this count of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.model_traits import ModelTraits, traits_of
from tests.builders import tiny_tokenizer
from tests.wire.providers import QUICK

KEY = "no-key-at-all-4711"
MISSING = object()  # a finish reason that is left out altogether


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer holds. `words[i]` ends text i; `indexes` are the choices' numbers, `more` goes on top."""

    texts: Sequence[Any] = (" 7",)
    words: Sequence[Any] = ("",)
    written: int = 2
    indexes: Sequence[Any] | None = None
    model: Any = "m"
    more: dict[str, Any] = field(default_factory=dict)

    def each(self) -> list[tuple[Any, Any, Any]]:
        words = self.words if len(self.words) == len(self.texts) else [self.words[0]] * len(self.texts)
        return list(
            zip(range(len(self.texts)) if self.indexes is None else self.indexes, self.texts, words, strict=True)
        )


def _named(name: str, word: Any) -> dict[str, Any]:
    return {} if word is MISSING else {name: word}


def _openai(said: Said, is_chat: bool) -> dict[str, Any]:
    choices = [
        {"index": index, **_named("finish_reason", word), "logprobs": None}
        | ({"message": {"role": "assistant", "content": text}} if is_chat else {"text": text})
        for index, text, word in said.each()
    ]
    usage = {"prompt_tokens": 9, "completion_tokens": said.written, "total_tokens": 9 + said.written}
    kind = "chat.completion" if is_chat else "text_completion"
    return {
        "id": "c",
        "object": kind,
        "created": 1,
        "model": said.model,
        "choices": choices,
        "usage": usage,
    } | said.more


def chat(said: Said) -> dict[str, Any]:
    return _openai(said, True)


def completion(said: Said) -> dict[str, Any]:
    return _openai(said, False)


def anthropic(said: Said) -> dict[str, Any]:
    [(_, text, word)] = said.each()
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": said.model,
        "content": [{"type": "text", "text": text}] if text else [], **_named("stop_reason", word),
        "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": said.written},
    } | said.more  # fmt: skip


def gemini(said: Said) -> dict[str, Any]:
    candidates = [
        {"content": {"role": "model", "parts": [{"text": text}]}, **_named("finishReason", word), "index": index}
        for index, text, word in said.each()
    ]
    usage = {"promptTokenCount": 9, "candidatesTokenCount": said.written, "totalTokenCount": 9 + said.written}
    return {"candidates": candidates, "modelVersion": said.model, "usageMetadata": usage, "responseId": "r"} | said.more


@dataclass(frozen=True, slots=True)
class Wire:
    """A way to a provider: litellm's name of a model, the variable of its key, and how its server writes an answer.
    `stop`, `length` and `filtered` are its words for an end of its own, one at the limit, and a filter's."""

    model: str
    key_variable: str
    body: Callable[[Said], dict[str, Any]]
    api_base: str = "/v1"
    handover: str = "instruction"
    stop: str = "stop"
    length: str = "length"
    filtered: str = "content_filter"

    def teacher(self, url: str, samples: int = 1, **more: Any) -> HostedTeacher:
        """A teacher on a server at `url`, with `samples` texts a call; its key has to be in the environment."""
        settings: dict[str, Any] = {
            "patience": QUICK,
            "concurrency": 16,
            "call_timeout_s": 5,
            "handover": self.handover,
        }
        seeds = traits_of(self.model).takes_seed
        settings["traits"] = ModelTraits(
            self.model, self.handover, samples, takes_seed=seeds, takes_ids=self.model.startswith("hosted_vllm")
        )
        if self.handover == "raw":
            settings["template"] = ChatTemplate(tiny_tokenizer())
        return HostedTeacher(self.model, api_base=url + self.api_base, **settings | more)


WIRES = {
    "OpenAI, chat": Wire("openai/gpt-4.1", "OPENAI_API_KEY", chat),
    "OpenAI, completions": Wire("text-completion-openai/m", "OPENAI_API_KEY", completion, handover="raw"),
    "vLLM, completions": Wire("hosted_vllm/m", "HOSTED_VLLM_API_KEY", completion, handover="raw"),
    "vLLM, chat": Wire("hosted_vllm/m", "HOSTED_VLLM_API_KEY", chat),
    "DeepSeek": Wire("deepseek/deepseek-chat", "DEEPSEEK_API_KEY", chat, "/beta"),
    "Mistral": Wire("mistral/mistral-large-latest", "MISTRAL_API_KEY", chat),
    "Anthropic": Wire(
        "anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY", anthropic, "", "instruction", "end_turn", "max_tokens",
        "refusal",
    ),
    "Gemini": Wire(
        "gemini/gemini-2.5-flash", "GEMINI_API_KEY", gemini, "", "instruction", "STOP", "MAX_TOKENS", "SAFETY"
    ),
}  # fmt: skip


def asked(body: dict[str, Any]) -> str:
    """What a request asks, as a text."""
    read = body.get("prompt") or body.get("messages") or body.get("contents")
    return tiny_tokenizer().decode(read) if isinstance(read, list) and isinstance(read[0], int) else str(read)


def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key for every wire."""
    for wire in WIRES.values():
        monkeypatch.setenv(wire.key_variable, KEY)
