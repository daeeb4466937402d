"""The providers in one table: the model asked for, the server's rules, and a teacher that talks to the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.hosted.retry import RetryPolicy
from omniopd.teachers.hosted.teacher import HostedTeacher
from tests.builders import tiny_tokenizer
from tests.wire import anthropic, chat_completions, completions, gemini
from tests.wire.reading import Turn
from tests.wire.server import Answering, Received

QUICK = RetryPolicy(attempts=2, redraws=2, rate_limits=2, pause_s=0.01, longest_pause_s=0.02)


@dataclass(frozen=True, slots=True)
class Provider:
    """`model` is litellm's name, `api_base` follows the server's URL, `turns_of` reads a request as the server does."""

    model: str
    key_variable: str
    answer: Answering
    turns_of: Callable[[Received], list[Turn]]
    api_base: str = ""

    def teacher(self, url: str, **more: Any) -> HostedTeacher:
        """A teacher on a server at `url`; its key has to be in the environment."""
        settings: dict[str, Any] = {"template": ChatTemplate(tiny_tokenizer()), "patience": QUICK, "concurrency": 16}
        return HostedTeacher(self.model, api_base=url + self.api_base, **settings | more)


def _served_by_vllm(model: str) -> Provider:
    return Provider(model, "HOSTED_VLLM_API_KEY", completions.vllm(tiny_tokenizer()), completions.turns_of, "/v1")


PROVIDERS = {
    "Anthropic": Provider("anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY", anthropic.answer, anthropic.turns_of),
    "Gemini": Provider("gemini/gemini-2.5-flash", "GEMINI_API_KEY", gemini.answer, gemini.turns_of),
    "OpenAI": Provider("openai/gpt-4.1", "OPENAI_API_KEY", chat_completions.openai, chat_completions.turns_of, "/v1"),
    "DeepSeek": Provider(
        "deepseek/deepseek-chat", "DEEPSEEK_API_KEY", chat_completions.deepseek, chat_completions.turns_of, "/beta"
    ),
    "Mistral": Provider(
        "mistral/mistral-large-latest", "MISTRAL_API_KEY", chat_completions.mistral, chat_completions.turns_of, "/v1"
    ),
    "vLLM": _served_by_vllm("hosted_vllm/tiny"),
}
# The same servers under other rules: newer models, which take no prefill, and a completion endpoint that takes no ids.
NEWER = {
    "Anthropic, no prefill": Provider(
        "anthropic/claude-haiku-5-5", "ANTHROPIC_API_KEY", anthropic.answer, anthropic.turns_of
    ),
    "Gemini, no prefill": Provider("gemini/gemini-3.5-flash", "GEMINI_API_KEY", gemini.answer, gemini.turns_of),
    "OpenAI, thinking": Provider(
        "openai/gpt-5", "OPENAI_API_KEY", chat_completions.openai, chat_completions.turns_of, "/v1"
    ),
    "completions of text": _served_by_vllm("text-completion-openai/tiny"),
}
