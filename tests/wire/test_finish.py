"""Every word by which a provider ends a text, on every wire: which texts are evidence, and which ended by themselves.

The right values stand in the tables, from the providers' own references: a text counts if its provider says that it
ended, or was cut at the limit. litellm knows fewer words, and makes "stop" of the rest.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from omniopd.teachers.hosted.finish import read
from omniopd.types import Continuations, Prompt
from tests.builders import request
from tests.wire.saying import MISSING, WIRES, Said, asked, keys
from tests.wire.server import Reply, WireServer

LIMIT = 8
ENDED, CUT, NONE, FILTERED = "ended by itself", "cut", "no text", "refused"
CHAT = {
    ENDED: ["stop", "eos", "eos_token"],
    CUT: ["length", "max_tokens", "stop_sequence"],
    FILTERED: ["content_filter", "refusal", "safety", "recitation", "sensitive"],
    NONE: ["abort", "error", "insufficient_system_resource", "model_length", "network_error", "repetition",
           "tool_calls", "function_call", "pause_turn", "timeout", "", None, MISSING, "another_word", "STOP", "stop ",
           7, ["stop"]],
}  # fmt: skip
ANTHROPIC = {
    ENDED: ["end_turn"],
    CUT: ["max_tokens", "stop_sequence"],
    FILTERED: ["refusal"],
    NONE: ["pause_turn", "tool_use", "compaction", "model_context_window_exceeded", "error", "stop", "another_word",
           None, MISSING],
}  # fmt: skip
GEMINI = {
    ENDED: ["STOP"],
    CUT: ["MAX_TOKENS"],
    FILTERED: ["SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"],
    NONE: ["FINISH_REASON_UNSPECIFIED", "OTHER", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "TOO_MANY_TOOL_CALLS",
           "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE", "NO_IMAGE", "stop", "ANOTHER_WORD", None, MISSING],
}  # fmt: skip
TABLES = dict.fromkeys(WIRES, CHAT) | {"Anthropic": ANTHROPIC, "Gemini": GEMINI}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    keys(monkeypatch)


def told(name: str, said: list[Said], samples: int = 1) -> list[Continuations]:
    """What a teacher makes of answers: the one to question n is `said[n]`, however often it is asked."""
    wire = WIRES[name]

    def answer(received: Any) -> Reply:
        number = next(n for n in reversed(range(len(said))) if f"number {n}:" in asked(received.body))
        return Reply(wire.body(said[number]))

    with WireServer(answer) as server:
        questions = [request("", samples, LIMIT, of=_question(n)) for n in range(len(said))]
        return wire.teacher(server.url, samples, concurrency=1).continue_from(questions)


def _question(number: int) -> Prompt:
    return Prompt(str(number), ({"role": "user", "content": f"number {number}: what is it?"},))


def verdict(answer: Continuations) -> str:
    if answer.problem is None:
        assert answer.texts == (" 7",)
        return ENDED if answer.stopped == (True,) else CUT
    assert answer.texts == ()
    return FILTERED if answer.problem == "refusal" else NONE


@pytest.mark.parametrize("name", WIRES)
def test_a_text_counts_if_its_provider_says_that_it_ended_or_was_cut(name: str) -> None:
    rows = [(word, right) for right, words in TABLES[name].items() for word in words]
    answers = told(name, [Said(words=[word]) for word, _ in rows])
    assert [(word, verdict(a)) for (word, _), a in zip(rows, answers, strict=True)] == rows


@pytest.mark.parametrize("name", WIRES)
def test_a_text_that_used_its_limit_was_cut_where_nobody_says_that_it_ended(name: str) -> None:
    """An end of turn is a token, too: where it is the last of the limit, the provider's word for it stands."""
    wire = WIRES[name]
    rows = {wire.stop: ENDED, wire.length: CUT, None: CUT, MISSING: CUT, "another_word": CUT, wire.filtered: FILTERED}
    if name == "Anthropic":
        rows[MISSING] = NONE  # litellm itself cannot read a message without the field
    answers = told(name, [Said(words=[word], written=LIMIT) for word in rows])
    assert [verdict(a) for a in answers] == list(rows.values())


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table is CHAT])
def test_a_text_broken_off_is_none_even_at_its_limit(name: str) -> None:
    answers = told(name, [Said(words=[word], written=LIMIT) for word in ("abort", "error", "tool_calls")])
    assert [a.problem for a in answers] == ["broken off: abort", "broken off: error", "broken off: tool_calls"]


def test_an_end_of_turn_may_be_the_only_token_that_is_asked_for() -> None:
    """Labels of the next token alone: a turn that ends there has no text, and its end is one token of one."""
    wire = WIRES["vLLM, completions"]
    body = wire.body(Said(texts=["", " 7", ""], words=["stop", "length", "stop"], written=3))
    with WireServer(lambda received: Reply(body)) as server:
        [answer] = wire.teacher(server.url, samples=3).continue_from([request("", 3, 1)])
    assert (answer.texts, answer.stopped, answer.usage.calls) == (("", " 7", ""), (True, False, True), 1)


def test_a_text_longer_than_its_tokens_can_be_is_cut_before_anything_looks_at_it() -> None:
    """A server that ignores the limit: 256 characters a token are more than any tokenizer has."""
    for name, wire in WIRES.items():
        [answer] = told(name, [Said(texts=["x y" * 10_000], words=[wire.stop], written=3)])
        assert ([len(t) for t in answer.texts], answer.stopped) == ([LIMIT * 256], (False,)), name


def test_a_stop_string_of_the_users_is_no_end_of_the_models() -> None:
    def body(at: Any) -> dict[str, Any]:
        choice = {"index": 0, "text": " 7", "logprobs": None, "finish_reason": "stop", "stop_reason": at}
        return {"choices": [choice]}

    answers = told("vLLM, completions", [Said(more=body(at)) for at in (None, 151645, "\n\n")])
    assert [a.stopped for a in answers] == [(True,), (True,), (False,)]


def test_a_message_that_refuses_or_calls_a_tool_is_no_text_whatever_its_reason() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    more = [{"refusal": "I will not."}, {"tool_calls": [call]}]
    said = [
        Said(more={"choices": [{"index": 0, "finish_reason": "stop",
                                "message": {"role": "assistant", "content": " 7", **m}}]})
        for m in more
    ]  # fmt: skip
    assert [a.problem for a in told("OpenAI, chat", said)] == ["refusal", "broken off: tool_calls"]
    parts = [{"text": " 7"}, {"functionCall": {"name": "f", "args": {}}}]
    called = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}]}
    assert [a.problem for a in told("Gemini", [Said(more=called)])] == ["broken off: functionCall"]


def test_a_question_that_gemini_blocks_is_refused() -> None:
    blocked = {"candidates": [], "promptFeedback": {"blockReason": "SAFETY"}}
    assert [a.problem for a in told("Gemini", [Said(more=blocked)])] == ["refusal"]


@pytest.mark.parametrize(
    ("usage", "is_read"),
    [
        ({"billed_units": {"input_tokens": 5}, "tokens": {"input_tokens": 7, "output_tokens": 3}}, True),  # Cohere
        ({"prompt_tokens": 7, "time_to_first_token": 0.05, "total_tokens_per_sec": 98.6}, True),  # SambaNova
        ({"prompt_tokens": 7, "queue_time": 0.1, "prompt_tokens_details": None}, True),  # Groq
        ({"prompt_tokens": 7.5}, False),
        ({"promptTokenCount": {}}, False),
        ({"tokens": {"input_tokens": []}}, False),
        ([], False),
    ],
)
def test_what_counts_no_tokens_may_be_anything(usage: Any, is_read: bool) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": " 7"}}
    body = json.dumps({"choices": [choice], "usage": usage}).encode()
    if is_read:
        assert read(body)[0]["usage"] == usage
    else:
        with pytest.raises(ValueError, match="its usage is not a count of tokens"):
            read(body)


# Three texts are asked for; texts a, b, c by the numbers of their choices. Which draw each is, by hand; a draw that is
# missing is asked for again alone, and then gets "again".
INDEXES = [
    ([0, 1, 2], ("a", "b", "c")),
    ([2, 0, 1], ("b", "c", "a")),
    ([None, None, None], ("a", "b", "c")),
    ([0, 0, 1], ("a", "c", "again")),
    ([0, 5, 2], ("a", "again", "c")),
    ([-1, 1, 0], ("c", "b", "again")),
    ([3, 1, 2], ("again", "b", "c")),
]


@pytest.mark.parametrize("name", ["OpenAI, chat", "vLLM, completions", "Gemini"])
@pytest.mark.parametrize(("indexes", "right"), INDEXES)
def test_texts_are_the_draws_that_their_numbers_say(name: str, indexes: list[Any], right: tuple[str, ...]) -> None:
    wire = WIRES[name]

    def answer(received: Any) -> Reply:
        count = received.body.get("n") or received.body.get("generationConfig", {}).get("candidate_count", 1)
        if count == 3:
            return Reply(wire.body(Said(texts=("a", "b", "c"), words=[wire.length], indexes=indexes)))
        return Reply(wire.body(Said(texts=["again"] * count, words=[wire.length])))

    with WireServer(answer) as server:
        teacher = wire.teacher(server.url, samples=3)
        [got] = teacher.continue_from([request("", 3, LIMIT)])
    assert (got.texts, got.problem) == (right, None)


def test_more_texts_than_asked_for_are_nobodys() -> None:
    for name in ("OpenAI, chat", "vLLM, completions", "Gemini"):
        wire = WIRES[name]
        [answer] = told(name, [Said(texts=("a", "b", "c"), words=[wire.length], written=6)], samples=2)
        assert (answer.texts, answer.usage.calls, answer.problem) == (("a", "b"), 1, None)
