"""Token ids reach a server of one's own exact and cheap, and nothing there cuts the distribution that they ask for."""

from __future__ import annotations

from typing import Any

import pytest

from omniopd.teachers.handover.base import ProviderRequest
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.hosted.wire import call_parameters, merged
from omniopd.teachers.model_traits import traits_of
from omniopd.types import ContinuationRequest, Prompt
from tests.wire.providers import NEWER, PROVIDERS
from tests.wire.server import Received, Reply, WireServer
from tests.wire.truth import cases, question

WHOLE = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


def asked(prefix: str = "", samples: int = 1) -> ContinuationRequest:
    messages = ({"role": "user", "content": question(1)},)
    return ContinuationRequest(Prompt("1", messages), prefix, samples, 8)


def sent(teacher: HostedTeacher, server: WireServer, request: ContinuationRequest) -> dict[str, Any]:
    [answer] = teacher.continue_from([request])
    assert answer.problem is None, answer
    return server.received[-1].body


def test_the_ids_that_arrive_are_those_of_the_handover() -> None:
    provider = PROVIDERS["vLLM"]
    with WireServer(provider.answer) as server:
        teacher = provider.teacher(server.url)
        for case in cases(20):
            request = ContinuationRequest(
                Prompt(case.question, ({"role": "user", "content": case.question},)), case.prefix, 2, 8
            )
            body = sent(teacher, server, request)
            assert body["prompt"] == list(teacher.handover.render(request).prompt)
            assert (body["n"], body["max_tokens"]) == (2, 8)


def test_they_are_not_walked_one_by_one() -> None:
    ids = tuple(range(2000))
    words = call_parameters(
        traits_of("hosted_vllm/m"), ProviderRequest(prompt=ids), max_tokens=8, samples=1, seed=None, api_base="http://x",
        key_variable=None, more={},
    )  # fmt: skip
    assert words["prompt"] == [0]
    assert words["extra_body"]["prompt"] == list(ids)


def test_ids_sampling_and_the_users_own_parameters_travel_together() -> None:
    provider = PROVIDERS["vLLM"]
    with WireServer(provider.answer) as server:
        teacher = provider.teacher(server.url, parameters={"extra_body": {"priority": 3}, "user": "me"})
        body = sent(teacher, server, asked())
    assert {name: body[name] for name in WHOLE} == WHOLE
    assert (body["temperature"], body["top_p"], body["priority"], body["user"]) == (1.0, 1.0, 3, "me")
    assert "extra_body" not in body


@pytest.mark.parametrize("own", [{"extra_body": {"top_k": 20}}, {"top_k": 20}], ids=["extra_body", "parameter"])
def test_the_users_word_on_top_k_is_the_last_one_and_other_answers(own: dict[str, Any]) -> None:
    """A cut that was asked for is sent, and its answers are another teacher's to a cache."""
    provider = PROVIDERS["vLLM"]
    with WireServer(without_rules) as server:
        plain, cut = provider.teacher(server.url), provider.teacher(server.url, parameters=own)
        assert sent(cut, server, asked())["top_k"] == 20
        assert sent(plain, server, asked())["top_k"] == -1
    assert plain.identity != cut.identity


def test_a_server_of_texts_is_sent_nothing_that_it_may_not_know() -> None:
    provider = NEWER["completions of text"]
    with WireServer(provider.answer) as server:
        body = sent(provider.teacher(server.url), server, asked("Adding"))
    assert isinstance(body["prompt"], str)
    assert set(body).isdisjoint(WHOLE)


def test_a_chat_with_a_vllm_server_is_not_cut_either() -> None:
    with WireServer(without_rules) as server:
        teacher = HostedTeacher("hosted_vllm/m", handover="instruction", api_base=server.url + "/v1")
        body = sent(teacher, server, asked("Adding"))
    assert {name: body[name] for name in WHOLE} == WHOLE


def test_later_parameters_come_before_earlier_ones_also_inside_extra_body() -> None:
    assert merged({"a": 1, "extra_body": {"x": 1, "y": 1}}, {"a": 2}, {"extra_body": {"y": 2}}) == {
        "a": 2, "extra_body": {"x": 1, "y": 2},
    }  # fmt: skip
    assert merged({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}


def without_rules(received: Received) -> Reply:
    """Says " 7", whatever it is sent."""
    is_chat = "messages" in received.body
    said = {"message": {"role": "assistant", "content": " 7"}} if is_chat else {"text": " 7", "logprobs": None}
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    choices = [{"index": 0, "finish_reason": "stop", **said}]
    kind = "chat.completion" if is_chat else "text_completion"
    return Reply({"id": "c", "object": kind, "created": 1, "model": "m", "choices": choices, "usage": usage})
