"""The table of models: every entry can be read and found, and says how a prefix reaches the models by name."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.resources import files

import pytest

from omniopd.config import HANDOVERS
from omniopd.teachers.model_traits import traits_of

TABLE = tomllib.loads(files("omniopd.teachers").joinpath("models.toml").read_text(encoding="utf-8"))["model"]


@pytest.mark.parametrize(
    ("model", "handover"),
    [
        ("anthropic/claude-haiku-4-5", "prefill"),
        ("anthropic/claude-haiku-4-5-20251001", "prefill"),
        ("claude-sonnet-4-5", "prefill"),
        ("bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0", "prefill"),
        ("openrouter/anthropic/claude-haiku-4.5", "prefill"),
        ("anthropic/claude-sonnet-4-6", "instruction"),
        ("anthropic/claude-opus-4-6", "instruction"),
        ("anthropic/claude-haiku-5-5", "instruction"),
        ("claude-unheard-of-7", "instruction"),
        ("gemini/gemini-2.0-flash", "prefill"),
        ("gemini/gemini-2.5-flash", "prefill"),
        ("gemini/gemini-2.5-flash-lite", "prefill"),
        ("vertex_ai/gemini-2.5-flash", "prefill"),
        ("gemini/gemini-3-flash-preview", "prefill"),
        ("gemini/gemini-3.1-flash-lite", "prefill"),
        ("gemini/gemini-2.5-pro", "instruction"),
        ("gemini/gemini-3.5-flash", "instruction"),
        ("deepseek/deepseek-chat", "prefill"),
        ("deepseek/deepseek-reasoner", "instruction"),
        ("mistral/mistral-large-latest", "prefill"),
        ("mistral/magistral-small-latest", "instruction"),
        ("openai/gpt-4.1", "instruction"),
        ("openai/gpt-5", "instruction"),
        ("gpt-5-mini", "instruction"),
        ("openai/o4-mini", "instruction"),
        ("hosted_vllm/Qwen/Qwen3-4B", "raw"),
        ("hosted_vllm/google/gemma-3-4b-it", "raw"),
        ("hosted_vllm/openai/gpt-oss-20b", "raw"),
        ("hosted_vllm/mistral/claude-gpt-5-gemini-3.5", "raw"),
        ("text-completion-openai/teacher", "raw"),
        ("nobody/knows-this", "instruction"),
    ],
)
def test_a_model_is_found_by_its_name(model: str, handover: str) -> None:
    assert traits_of(model).handover == handover
    assert traits_of(model).model == model


def test_every_entry_says_what_is_special_about_it() -> None:
    assert all(entry["handover"] in HANDOVERS and entry["note"] and entry["patterns"] for entry in TABLE)
    assert all(pattern == pattern.lower() for entry in TABLE for pattern in entry["patterns"])


def test_no_entry_is_hidden_by_those_above_it() -> None:
    for number, entry in enumerate(TABLE):
        for pattern in entry["patterns"]:
            found = traits_of(pattern.replace("*", ""))
            assert found.note == entry["note"], f"{pattern} of entry {number} is answered by {found.note!r}"


def test_what_matters_of_the_models_that_the_readme_names() -> None:
    claude, newer = traits_of("anthropic/claude-haiku-4-5"), traits_of("anthropic/claude-haiku-5-5")
    assert (claude.most_samples, claude.takes_seed, claude.trailing_whitespace, claude.one_sampling_setting) == (
        1, False, False, True)  # fmt: skip
    assert (newer.takes_sampling, newer.takes_seed) == (False, False)
    gemini, later = traits_of("gemini/gemini-2.5-flash"), traits_of("gemini/gemini-3.5-flash")
    assert (gemini.most_samples, gemini.takes_seed, gemini.parameters) == (8, True, {"reasoning_effort": "none"})
    assert (later.most_samples, later.thinking_tokens) == (1, 4096)
    vllm = traits_of("hosted_vllm/Qwen/Qwen3-4B")
    assert (vllm.takes_ids, vllm.takes_seed, vllm.most_samples) == (True, True, 128)
    assert vllm.completion_model == "text-completion-openai/Qwen/Qwen3-4B"


def test_a_model_that_nobody_knows_gets_what_works_anywhere() -> None:
    unknown = traits_of("nobody/knows-this")
    assert (unknown.handover, unknown.most_samples, unknown.takes_seed, dict(unknown.parameters)) == (
        "instruction", 1, False, {})  # fmt: skip
    assert "not in the table" in unknown.note


def test_the_table_is_read_without_torch_and_litellm() -> None:
    code = (
        "import sys; from omniopd.teachers.model_traits import traits_of; traits_of('gpt-5');"
        "assert not {'torch', 'transformers', 'litellm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
