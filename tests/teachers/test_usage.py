"""The ledger shows the provider's bill, and never less than a call may have cost: bills worked out by hand.

Answers go over the wire, through litellm, onto a ledger. Sums are millionths of a dollar, so that a price per million
tokens is a price per token. The rules are those that the providers publish:

    OpenAI      cached_tokens are part of prompt_tokens, reasoning_tokens of completion_tokens
    Anthropic   input_tokens, cache_creation_input_tokens (1.25 times the price for 5 minutes, 2 times for an hour) and
                cache_read_input_tokens (.1 times) are beside each other
    Gemini      thoughtsTokenCount is beside candidatesTokenCount, cachedContentTokenCount part of promptTokenCount
    xAI         reasoning_tokens are beside completion_tokens
    DeepSeek    prompt_tokens are hits and misses together, completion_tokens hold the thoughts
    Moonshot    cached_tokens stand in usage itself
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.teachers.hosted.calls import Call
from omniopd.teachers.hosted.retry import RetryPolicy
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.teachers.spending.ledger import Spend
from omniopd.teachers.spending.prices import Price, price_of
from omniopd.teachers.spending.usage import billed, read_usage
from tests.builders import request
from tests.wire.server import Reply, WireServer

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")

M = 1e-6
ONCE = RetryPolicy(attempts=1, redraws=1, rate_limits=1, pause_s=0.01, longest_pause_s=0.02)
# Read 1, written 2, cached a tenth, kept 1.25 and for an hour 2 millionths: sums that cannot be confused.
PRICE = Price(1 * M, 2 * M, 0.1 * M, kept_usd=1.25 * M, hour_usd=2 * M)
LONG, MOST = "the cat sat on the mat. " * 100, 1000


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OPENAI",
        "ANTHROPIC",
        "GEMINI",
        "XAI",
        "DEEPSEEK",
        "MOONSHOT",
        "OPENROUTER",
        "MISTRAL",
        "PERPLEXITYAI",
    ):
        monkeypatch.setenv(f"{name}_API_KEY", "a-key-of-nobody")


def chat(usage: Any, **more: Any) -> dict[str, Any]:
    choices = [{"index": 0, "message": {"role": "assistant", "content": " and slept"}, "finish_reason": "length"}]
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": usage,
    } | more


def messages(usage: Any) -> dict[str, Any]:
    return {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "max_tokens",
            "content": [{"type": "text", "text": " and slept"}], "usage": usage}  # fmt: skip


def candidates(usage: Any) -> dict[str, Any]:
    said = {"content": {"parts": [{"text": " and slept"}], "role": "model"}, "finishReason": "MAX_TOKENS"}
    return {"candidates": [said], "modelVersion": "m", "usageMetadata": usage, "responseId": "r"}


def spent(model: str, body: Any, price: Price | None = PRICE, base: str = "/v1", file: Path | None = None) -> Spend:
    """What the ledger shows after one call that the server answers with `body`."""
    with WireServer(lambda received: Reply(body)) as server:
        teacher = HostedTeacher(model, api_base=server.url + base, price=price, patience=ONCE, call_timeout_s=20)
        budget = BudgetedTeacher(teacher, 1e6, file, allow_unknown_price=True, stop=False)
        budget.continue_from([request(LONG, 1, MOST)])
        assert len(server.received) == 1
    [spend] = budget.ledger
    assert spend.calls == 1
    return spend


def most(model: str, price: Price = PRICE) -> float:
    """What the call of `spent` can cost, by the bounds on its tokens and the dearest of their prices."""
    teacher = HostedTeacher(model, api_base="http://127.0.0.1:9", price=price)
    [piece] = teacher.endpoint.sample_batches(0, request(LONG, 1, MOST))
    call = teacher.endpoint.call_for(piece, 1)
    assert call.output_tokens == MOST + teacher.handover.render(request(LONG, 1, MOST)).extra_tokens
    assert call.input_tokens > 1500
    return call.input_tokens * 2 * M + call.output_tokens * 2 * M


ANTHROPIC, GEMINI = "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"
BILLS = [
    # name, model, base, body, millionths by hand
    ("OpenAI", "openai/gpt-4.1", "/v1", chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}),
     100 + 2 * 50),
    ("OpenAI, cached", "openai/gpt-4.1", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
           "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 0}}), 40 + 6 + 100),
    ("OpenAI, reasoning inside", "openai/gpt-4.1", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
           "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 0,
                                         "accepted_prediction_tokens": 0}}), 100 + 100),
    ("OpenAI, kept in a cache", "openai/gpt-4.1", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
           "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 40}}), 40 + 2 + 50 + 100),
    ("a gateway, reasoning beside", "openai/gpt-4.1", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 180,
           "completion_tokens_details": {"reasoning_tokens": 30}}), 100 + 2 * 80),
    ("a gateway, more reasoning than answer", "openai/gpt-4.1", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
           "completion_tokens_details": {"reasoning_tokens": 70}}), 100 + 2 * 120),
    ("a gateway without a total", "openai/gpt-4.1", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 30}}),
     100 + 2 * 80),
    ("a total above its parts", "openai/gpt-4.1", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 170}), 100 + 2 * 70),
    ("cache beside the prompt", "openai/gpt-4.1", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 250,
           "prompt_tokens_details": {"cached_tokens": 100}}), 100 + 10 + 100),
    ("more cached than read", "openai/gpt-4.1", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
           "prompt_tokens_details": {"cached_tokens": 160}}), 10 + 100),
    ("Anthropic's names on OpenAI's wire", "openai/gpt-4.1", "/v1",
     chat({"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}), 100 + 100),
    ("whole numbers with a point", "mistral/mistral-large-latest", "/v1",
     chat({"prompt_tokens": 100.0, "completion_tokens": 50, "total_tokens": 150}), 100 + 100),
    ("Anthropic", ANTHROPIC, "", messages({"input_tokens": 100, "output_tokens": 50}), 100 + 100),
    ("Anthropic, kept for minutes", ANTHROPIC, "",
     messages({"input_tokens": 35, "cache_creation_input_tokens": 200, "cache_read_input_tokens": 0,
               "output_tokens": 50}), 35 + 250 + 100),
    ("Anthropic, kept for an hour", ANTHROPIC, "",
     messages({"input_tokens": 35, "cache_creation_input_tokens": 200, "cache_read_input_tokens": 100,
               "cache_creation": {"ephemeral_5m_input_tokens": 80, "ephemeral_1h_input_tokens": 120},
               "output_tokens": 50, "service_tier": "standard"}), 35 + 100 + 240 + 10 + 100),
    ("Gemini, thoughts beside", GEMINI, "",
     candidates({"promptTokenCount": 100, "candidatesTokenCount": 50, "thoughtsTokenCount": 30,
                 "totalTokenCount": 180}), 100 + 2 * 80),
    ("Gemini, cached", GEMINI, "",
     candidates({"promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 50,
                 "totalTokenCount": 150, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}]}),
     40 + 6 + 100),
    ("xAI, reasoning beside", "xai/grok-4.3", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 180,
           "completion_tokens_details": {"reasoning_tokens": 30}}), 100 + 2 * 80),
    ("DeepSeek, cached and thinking", "deepseek/deepseek-chat", "/beta",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "prompt_cache_hit_tokens": 60,
           "prompt_cache_miss_tokens": 40, "completion_tokens_details": {"reasoning_tokens": 30}}), 40 + 6 + 100),
    ("Moonshot, cached", "moonshot/kimi-k2", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "cached_tokens": 60}), 40 + 6 + 100),
    ("SambaNova, with speeds", "sambanova/m", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "completion_tokens_per_sec": 98.6,
           "time_to_first_token": 0.05, "is_last_response": True}), 100 + 100),
    ("OpenRouter says more", "openrouter/a/b", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "cost": 0.000321}), 321),
    ("OpenRouter says less", "openrouter/a/b", "/v1",
     chat({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "cost": 0.000001}), 200),
]  # fmt: skip


@pytest.mark.parametrize(("model", "base", "body", "by_hand"), [b[1:] for b in BILLS], ids=[b[0] for b in BILLS])
def test_the_ledger_shows_the_bill(model: str, base: str, body: Any, by_hand: float, tmp_path: Path) -> None:
    spend = spent(model, body, base=base, file=tmp_path / "ledger.jsonl")
    assert spend.usd == pytest.approx(by_hand * M)
    assert spend.unsure_usd == 0


PLAIN = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
NOT_SAID = [
    ("nothing", "openai/gpt-4.1", "/v1", chat(None)),
    ("zeros", "openai/gpt-4.1", "/v1", chat({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})),
    ("nothing written, and a text", "openai/gpt-4.1", "/v1", chat({"prompt_tokens": 100, "total_tokens": 100})),
    ("below nothing", "openai/gpt-4.1", "/v1",
     chat({"prompt_tokens": -1_000_000, "completion_tokens": -1_000_000, "total_tokens": -2_000_000})),
    ("below nothing, Anthropic", ANTHROPIC, "", messages({"input_tokens": -1_000_000, "output_tokens": -8000})),
    ("below nothing, Gemini", GEMINI, "",
     candidates({"promptTokenCount": -10**6, "candidatesTokenCount": 1, "totalTokenCount": -10**6})),
    ("cached below nothing", "openai/gpt-4.1", "/v1", chat(PLAIN | {"prompt_tokens_details": {"cached_tokens": -100}})),
    ("absurd", "openai/gpt-4.1", "/v1", chat({"prompt_tokens": 10**15, "completion_tokens": 9**15, "total_tokens": 1})),
    ("more than can be read", "openai/gpt-4.1", "/v1",
     chat({"prompt_tokens": 100_000, "completion_tokens": 1, "total_tokens": 100_001})),
    ("more than can be written", ANTHROPIC, "", messages({"input_tokens": 1, "output_tokens": 100_000})),
    ("reasoning without end", "openai/gpt-4.1", "/v1",
     chat(PLAIN | {"completion_tokens_details": {"reasoning_tokens": 10**9}})),
    ("another modality", "openai/gpt-4.1", "/v1", chat(PLAIN | {"completion_tokens_details": {"audio_tokens": 9}})),
    ("tools nobody asked for", ANTHROPIC, "",
     messages({"input_tokens": 9, "output_tokens": 9, "server_tool_use": {"web_search_requests": 3}})),
    ("a bill without end", "openrouter/a/b", "/v1", chat(PLAIN | {"cost": 1e6})),
]  # fmt: skip


@pytest.mark.parametrize(("model", "base", "body"), [n[1:] for n in NOT_SAID], ids=[n[0] for n in NOT_SAID])
def test_what_nobody_can_know_counts_as_the_most(model: str, base: str, body: Any, tmp_path: Path) -> None:
    spend = spent(model, body, base=base, file=tmp_path / "ledger.jsonl")
    assert spend.usd == spend.unsure_usd == pytest.approx(most(model), rel=1e-6)
    settled = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines() if '"settled"' in line]
    assert [entry["unsure"] for entry in settled] == [True]


WORDS = ("prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens", "cached_tokens", "cost",
         "cache_creation_input_tokens", "prompt_tokens_details", "completion_tokens_details",
         "service_tier")  # fmt: skip
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.integers(min_value=0, max_value=300),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(
        st.sampled_from([*WORDS, "audio_tokens", "cache_creation_token_details", "ephemeral_1h_input_tokens"]), inner
    ),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(WORDS), ANY), st.sampled_from([None, PRICE, price_of("claude-opus-5")]))
def test_whatever_a_provider_says_costs_no_less_than_nothing_and_no_more_than_was_set_aside(
    usage: dict[str, Any], price: Price | None
) -> None:
    call = Call(0, "m", 1000, 100, None if price is None else price.most(1000, 100))
    cost, _ = billed(read_usage({"usage": usage}), price, call)
    assert 0 <= cost.cost_usd <= (call.most_usd or 0.0) * (1 + 1e-9)
    assert math.isfinite(cost.cost_usd)
    assert 0 <= cost.cached_tokens <= cost.input_tokens <= 1000
    assert 0 <= cost.output_tokens <= 100


@pytest.mark.parametrize(
    ("model", "usage", "by_hand"),
    [
        # $1.25 and $10 a million up to 200,000 tokens read, $2.50 and $15 from there on, cached at a tenth.
        ("gemini/gemini-2.5-pro", {"prompt_tokens": 200_000, "completion_tokens": 100}, 0.25 + 0.001),
        ("gemini/gemini-2.5-pro", {"prompt_tokens": 200_001, "completion_tokens": 100}, 200_001 * 2.5 * M + 0.0015),
        ("gemini/gemini-2.5-pro", {"prompt_tokens": 300_000, "completion_tokens": 0,
                                   "prompt_tokens_details": {"cached_tokens": 300_000}}, 300_000 * 0.25 * M),
        # xAI's dearer prompts begin with 200,000 tokens, others beyond.
        ("xai/grok-4.3", {"prompt_tokens": 199_999, "completion_tokens": 0}, 199_999 * 1.25 * M),
        ("xai/grok-4.3", {"prompt_tokens": 200_000, "completion_tokens": 0}, 0.5),
        # Served with priority, which a project can set for all its calls: 1.75 times; flexibly, where asked for: half.
        ("openai/gpt-4.1", {"prompt_tokens": 1000, "completion_tokens": 100, "service_tier": "default"}, 0.0028),
        ("openai/gpt-4.1", {"prompt_tokens": 1000, "completion_tokens": 100, "service_tier": "priority"}, 0.0049),
        ("openai/gpt-5.4", {"prompt_tokens": 1000, "completion_tokens": 100, "service_tier": "flex"}, 0.002),
        # Kept in the United States, which a workspace can set for all its calls: 1.1 times.
        ("anthropic/claude-opus-5", {"prompt_tokens": 1000, "completion_tokens": 100, "inference_geo": "us"}, 0.00825),
        # Prices in steps: all of a prompt costs what its length does.
        ("dashscope/qwen-flash", {"prompt_tokens": 256_001, "completion_tokens": 100}, 256_001 * 0.25 * M + 0.0002),
        # A search comes with each of Perplexity's calls: half a cent.
        ("perplexity/sonar", {"prompt_tokens": 1000, "completion_tokens": 1000}, 0.002 + 0.005),
    ],
)  # fmt: skip
def test_lengths_and_ways_of_being_served_have_their_prices(model: str, usage: dict[str, Any], by_hand: float) -> None:
    price = price_of(model)
    assert price is not None
    usage |= {"total_tokens": usage["prompt_tokens"] + usage["completion_tokens"]}
    call = Call(0, model, 400_000, 1000, price.most(400_000, 1000))
    cost, unsure = billed(read_usage({"usage": usage}), price, call)
    assert cost.cost_usd == pytest.approx(by_hand)
    assert not unsure


def test_a_way_of_being_served_that_nobody_knows_is_the_dearest() -> None:
    price = price_of("openai/gpt-4.1")
    assert price is not None
    call = Call(0, "m", 1000, 100, price.most(1000, 100))
    cost, unsure = billed(read_usage({"usage": PLAIN | {"service_tier": "imperial"}}), price, call)
    assert cost.cost_usd == pytest.approx(100 * 3.5 * M + 50 * 14 * M)
    assert not unsure
