"""The providers in one table: the model asked for, the server's rules, and how litellm is told where the server is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import litellm

from omniopd.teachers.catalogue import traits_of
from omniopd.teachers.handover import Asked, ChatTemplate, Handover, handover_named
from tests.builders import tiny_tokenizer
from tests.wire import anthropic, chat_completions, completions, gemini
from tests.wire.reading import Turn
from tests.wire.server import Answering, Received

KEY = "sk-not-a-key"


@dataclass(frozen=True, slots=True)
class Provider:
    """`model` is litellm's name, `api_base` follows the server's URL, `turns_of` reads a request as the server does."""

    model: str
    answer: Answering
    turns_of: Callable[[Received], list[Turn]]
    api_base: str = ""

    def handover(self, name: str = "") -> Handover:
        return handover_named(name, traits_of(self.model), ChatTemplate(tiny_tokenizer()))


PROVIDERS = {
    "Claude, prefill": Provider("anthropic/claude-haiku-4-5", anthropic.answer, anthropic.turns_of),
    "Claude, instruction": Provider("anthropic/claude-haiku-5-5", anthropic.answer, anthropic.turns_of),
    "Gemini, prefill": Provider("gemini/gemini-2.5-flash", gemini.answer, gemini.turns_of),
    "Gemini, instruction": Provider("gemini/gemini-3.5-flash", gemini.answer, gemini.turns_of),
    "OpenAI": Provider("openai/gpt-4.1", chat_completions.openai, chat_completions.turns_of, "/v1"),
    "OpenAI, thinking": Provider("openai/gpt-5", chat_completions.openai, chat_completions.turns_of, "/v1"),
    "DeepSeek": Provider("deepseek/deepseek-chat", chat_completions.deepseek, chat_completions.turns_of, "/beta"),
    "Mistral": Provider("mistral/mistral-large-latest", chat_completions.mistral, chat_completions.turns_of, "/v1"),
    "vLLM, ids": Provider(
        "hosted_vllm/tiny",
        completions.vllm(tiny_tokenizer()),
        lambda received: _prompt_turns(received),
        "/v1",
    ),
    "vLLM, text": Provider(
        "text-completion-openai/tiny",
        completions.vllm(tiny_tokenizer()),
        lambda received: _prompt_turns(received),
        "/v1",
    ),
}


async def send(provider: Provider, url: str, asked: Asked, max_tokens: int, **settings: Any) -> list[str | None]:
    """One call through litellm's own adapter; the texts as it hands them over."""
    traits = traits_of(provider.model)
    shared = {
        "api_base": url + provider.api_base,
        "api_key": KEY,
        "max_tokens": max_tokens + asked.extra_tokens,
        "max_retries": 0,
        "timeout": 30,
        **asked.parameters,
        **settings,
    }
    if asked.prompt is not None:
        prompt = asked.prompt if isinstance(asked.prompt, str) else list(asked.prompt)
        answer = await litellm.atext_completion(model=traits.completion_model, prompt=prompt, **shared)
        return [choice.text for choice in answer.choices]
    answer = await litellm.acompletion(model=provider.model, messages=[dict(m) for m in asked.messages or ()], **shared)
    return [choice.message.content for choice in answer.choices]


def _prompt_turns(received: Received) -> list[Turn]:
    return completions.chatml_turns(tiny_tokenizer(), completions.prompt_ids(tiny_tokenizer(), received.body["prompt"]))
