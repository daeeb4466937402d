"""What litellm's adapters do to messages and answers, measured: the reasons for how prefixes are handed over.

A test that fails after an update of litellm says that a precaution may have become unnecessary, or insufficient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from omniopd.teachers.access.guard import prepare
from omniopd.teachers.hosted.background import run
from omniopd.teachers.hosted.transport import Failure, Reply, send
from omniopd.teachers.model_traits import traits_of
from tests.wire.providers import PROVIDERS
from tests.wire.server import Received, WireServer
from tests.wire.server import Reply as Answer

ASKED = {"role": "user", "content": "Question 7: what?"}


def call(server: WireServer, model: str, messages: Sequence[dict[str, Any]], path: str = "", **more: Any) -> Reply:
    prepare()
    parameters = {"model": model, "messages": list(messages), "max_tokens": 8, "api_base": server.url + path, **more}
    answer = run(lambda desk: send({"api_key": "none", **parameters}, 30))
    assert isinstance(answer, Reply), answer
    return answer


@pytest.fixture
def anthropic() -> Iterator[WireServer]:
    with WireServer(PROVIDERS["Anthropic"].answer) as server:
        yield server


def begun(text: str, **more: bool) -> list[dict[str, Any]]:
    return [ASKED, {"role": "assistant", "content": text, **more}]


def last_sent(server: WireServer) -> str:
    return PROVIDERS["Anthropic"].turns_of(server.received[-1])[-1].text


def test_claudes_answer_gets_the_prefix_put_before_it_if_the_message_is_marked(anthropic: WireServer) -> None:
    model = PROVIDERS["Anthropic"].model
    [marked] = call(anthropic, model, begun("x = 1", prefix=True)).choices
    [plain] = call(anthropic, model, begun("x = 1")).choices
    assert marked.text == "x = 1" + plain.text


def test_white_space_at_the_end_of_a_prefill_to_claude_is_dropped_without_a_word(anthropic: WireServer) -> None:
    call(anthropic, PROVIDERS["Anthropic"].model, begun("x = 1 +\n    "))
    assert last_sent(anthropic) == "x = 1 +"


def test_an_empty_prefill_to_claude_is_filled_with_words_of_the_adapters(anthropic: WireServer) -> None:
    call(anthropic, PROVIDERS["Anthropic"].model, begun(" "))
    assert "sanitised" in last_sent(anthropic)


def says(text: str) -> WireServer:
    """An OpenAI-like server that always says the same."""

    def answer(received: Received) -> Answer:
        message = {"role": "assistant", "content": text}
        choices = [{"index": 0, "message": message, "finish_reason": "length"}]
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
        return Answer(body)

    return WireServer(answer)


@pytest.mark.parametrize("model", ["deepseek/deepseek-chat", "openai/gpt-4.1", "mistral/mistral-small-latest"])
def test_a_thought_at_the_beginning_of_an_answer_is_taken_out_of_it(model: str) -> None:
    with says("<think>a</think>b") as server:
        [choice] = call(server, model, [ASKED], "/v1").choices
    assert (choice.text, choice.thought) == ("b", True)


def test_token_ids_are_refused_under_the_name_of_a_vllm_server_and_sent_under_another() -> None:
    prepare()
    shared = {"prompt": [1, 2, 3], "max_tokens": 8, "api_key": "none"}
    with WireServer(lambda received: Answer({"choices": []})) as server:
        address = {"api_base": server.url + "/v1"}
        refused = run(lambda desk: send({"model": "hosted_vllm/m", **shared, **address}, 30))
        assert isinstance(refused, Failure)
        assert server.received == []
        run(lambda desk: send({"model": traits_of("hosted_vllm/m").completion_model, **shared, **address}, 30))
        assert server.received[0].path == "/v1/completions"
        assert server.received[0].body["prompt"] == [1, 2, 3]
