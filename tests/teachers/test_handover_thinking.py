"""A prefix inside a thought goes on as the model's template writes thoughts, or is not sent."""

from __future__ import annotations

import pytest

from omniopd.teachers.catalogue import traits_of
from omniopd.teachers.handover import ChatTemplate, Unaskable, handover_named
from tests.builders import request
from tests.wire.families import family, special_tokens, thinking

START = "<|im_start|>assistant\n"


def told(thoughts: str, prefix: str, student_thinks: bool | None = None) -> str:
    """What a raw handover has the model read of its own turn, from ids; as a text it is the same."""
    tokenizer = thinking(thoughts)
    template = ChatTemplate(tokenizer, student_thinks)
    ids = handover_named("raw", traits_of("hosted_vllm/x"), template).ask(request(prefix)).prompt
    text = handover_named("raw", traits_of("text-completion-openai/x"), template).ask(request(prefix)).prompt
    decoded = tokenizer.decode(list(ids))
    assert decoded == text
    return decoded.split(START)[1]


@pytest.mark.parametrize("prefix", ["", "<think>", "<think>\nso", "<think>\nso\n</think>\n\nIt", "It is"])
def test_a_template_that_leaves_thoughts_to_the_model_gets_the_prefix_as_it_is(prefix: str) -> None:
    assert told("own", prefix) == prefix


def test_the_tags_of_a_thought_are_the_models_own_tokens() -> None:
    tokenizer = thinking("own")
    ids = ChatTemplate(tokenizer).ids(request("").prompt.messages, "<think>a</think>b")
    tags = tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    assert [token for token in ids if token in tags] == tags


@pytest.mark.parametrize("prefix", ["", "so 2 + 2", "so\n</think>\n\nIt is"])
def test_a_thought_that_both_templates_open_goes_on(prefix: str) -> None:
    assert told("open", prefix) == "<think>\n" + prefix


@pytest.mark.parametrize("prefix", ["<think>\nso", "<think>\nso\n</think>\n\nIt"])
def test_an_opening_tag_is_not_written_twice(prefix: str) -> None:
    assert told("open", prefix, student_thinks=False) == prefix


def test_an_answer_without_thoughts_closes_the_one_that_the_template_opens() -> None:
    assert told("open", "It is", student_thinks=False) == "<think>\n\n</think>\n\nIt is"


def test_a_students_thought_takes_the_place_of_the_empty_one() -> None:
    assert told("off", "It is") == "<think>\n\n</think>\n\nIt is"
    assert told("off", "<think>\nso") == "<think>\nso"
    assert told("off", "so 2", student_thinks=True) == "<think>\nso 2"


def test_a_template_without_thoughts_is_not_given_half_of_one() -> None:
    raw = handover_named("raw", traits_of("hosted_vllm/x"), ChatTemplate(family("Llama 3")))
    with pytest.raises(Unaskable, match="does not know"):
        raw.ask(request("<think>\nso"))
    assert raw.ask(request("<think>\nso</think> It")).prompt


@pytest.mark.parametrize("name", ["prefill", "instruction"])
def test_a_message_holds_no_half_thought(name: str) -> None:
    handover = handover_named(name, traits_of("anthropic/claude-haiku-4-5"))
    with pytest.raises(Unaskable, match="half a thought"):
        handover.ask(request("<think>\nso"))
    assert handover.ask(request("<think>\nso</think> It")).messages
    opened = handover_named(name, traits_of("anthropic/claude-haiku-4-5"), student_thinks=True)
    with pytest.raises(Unaskable, match="half a thought"):
        opened.ask(request("so"))
    assert opened.ask(request("so</think> It")).messages


def test_a_model_that_names_channels_answers_in_the_final_one() -> None:
    tokenizer = family("GPT-OSS")
    ids = handover_named("raw", traits_of("hosted_vllm/x"), ChatTemplate(tokenizer)).ask(request("It is")).prompt
    assert tokenizer.decode(list(ids)).endswith("<|start|>assistant<|channel|>final<|message|>It is")
    assert special_tokens(tokenizer, list(ids))[-3:] == ["<|start|>", "<|channel|>", "<|message|>"]
