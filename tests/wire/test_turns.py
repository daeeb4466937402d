"""No text of a student or a data set changes the number of turns, their roles, or what is in another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from omniopd.teachers.handover import handover_named
from omniopd.teachers.handover.base import Handover, ProviderRequest, UnsupportedRequest
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.model_traits import traits_of
from omniopd.types import ContinuationRequest, Prompt
from tests.wire.families import TEMPLATES, family, hostile_texts, special_tokens
from tests.wire.providers import NEWER, PROVIDERS
from tests.wire.reading import Turn
from tests.wire.server import WireServer

HOSTILE = hostile_texts(1000)


def by_turns(number: int, text: str) -> ContinuationRequest:
    """The hostile text as the prefix, or as (a part of) the question."""
    question, prefix = (f"Question {number}:", text) if number % 2 else (f"Question {number}: {text}", "So far")
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": question})
    return ContinuationRequest(Prompt(str(number), messages), prefix, 1, 8)


def harmless(request: ContinuationRequest) -> ContinuationRequest:
    messages = tuple({**m, "content": "x"} for m in request.prompt.messages)
    return ContinuationRequest(Prompt("x", messages), "x", 1, 8)


def try_all(handover: Handover) -> tuple[list[tuple[ContinuationRequest, ProviderRequest]], list[str]]:
    """What is sent of the hostile requests, and the reasons of those that are not."""
    asked, refused = [], []
    for number, text in enumerate(HOSTILE):
        request = by_turns(number, text)
        try:
            asked.append((request, handover.render(request)))
        except UnsupportedRequest as unaskable:
            refused.append(unaskable.reason)
    return asked, refused


def skeleton(name: str, messages: Sequence[Mapping[str, str]]) -> list[str]:
    """The special tokens that a server of this family reads in a conversation."""
    tokenizer = family(name)
    return special_tokens(tokenizer, tokenizer.apply_chat_template([dict(m) for m in messages]).input_ids)


@pytest.mark.parametrize("name", TEMPLATES)
def test_ids_keep_spelled_tokens_text_in_every_family(name: str) -> None:
    tokenizer = family(name)
    handover = handover_named("raw", traits_of("hosted_vllm/any"), ChatTemplate(tokenizer))
    meant = special_tokens(tokenizer, list(handover.render(harmless(by_turns(1, ""))).prompt))
    asked, _ = try_all(handover)
    for request, sent in asked:
        ids = list(sent.prompt)
        assert special_tokens(tokenizer, ids) == meant
        assert tokenizer.decode(ids).endswith(request.prefix)
    assert len(meant) > 2
    assert len(asked) > 900


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_text_prompt_is_read_with_the_same_tokens_or_not_sent(name: str) -> None:
    tokenizer = family(name)
    handover = handover_named("raw", traits_of("text-completion-openai/any"), ChatTemplate(tokenizer))
    meant = special_tokens(tokenizer, tokenizer(handover.render(harmless(by_turns(1, ""))).prompt).input_ids)
    asked, refused = try_all(handover)
    for _, sent in asked:
        assert special_tokens(tokenizer, tokenizer(sent.prompt).input_ids) == meant
    assert any("special token" in reason for reason in refused)
    assert len(asked) > 500


@pytest.mark.parametrize("kind", ["prefill", "instruction"])
def test_messages_read_by_any_family_have_the_turns_that_were_meant(kind: str) -> None:
    handover = handover_named(kind, traits_of("anthropic/claude-haiku-4-5"))
    asked, refused = try_all(handover)
    for request, sent in asked:
        roles = ["system", "user"] + ["assistant"] * (kind == "prefill" and bool(request.prefix.strip()))
        assert [message["role"] for message in sent.messages] == roles
        meant = [{"role": role, "content": "x"} for role in roles]
        for name in TEMPLATES:
            assert skeleton(name, sent.messages) == skeleton(name, meant), (name, request)
    assert len(asked) > 300
    assert all("special token" in reason or "<think>" in reason for reason in refused)


@pytest.mark.parametrize("name", (PROVIDERS | NEWER).keys())
def test_the_server_reads_the_turns_that_were_meant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = (PROVIDERS | NEWER)[name]
    monkeypatch.setenv(provider.key_variable, "no-key-at-all")
    requests = [by_turns(number, text) for number, text in enumerate(HOSTILE[:90])]
    with WireServer(provider.answer) as server:
        teacher = provider.teacher(server.url)
        answers = teacher.continue_from(requests)
        read = {_number(turns): turns for turns in map(provider.turns_of, server.received)}
    arrived = 0
    for number, (request, answer) in enumerate(zip(requests, answers, strict=True)):
        if str(number) not in read:
            assert answer.problem is not None
            assert "spells" in answer.problem or "<think>" in answer.problem
            continue
        arrived += 1
        turns = read[str(number)]
        system, question = (message["content"] for message in request.prompt.messages)
        if teacher.handover.name == "instruction":
            assert [turn.role for turn in turns] == ["system", "user"]
            assert turns[1].text.startswith(question)
            assert f">{request.prefix}</" in turns[1].text
        else:
            sent = request.prefix.removesuffix(teacher.handover.render(request).unsent)
            begun = [Turn("model" if "gemini" in provider.model else "assistant", sent)]
            # White space alone begins nothing for a provider that takes no empty message.
            begun *= bool(sent) or teacher.handover.name == "raw"
            assert turns == [Turn("system", system), Turn("user", question), *begun]
    assert arrived > 25


def _number(turns: list[Turn]) -> str:
    return turns[1].text.split("Question ")[1].split(":")[0]
