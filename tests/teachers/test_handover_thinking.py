"""A prefix inside a thought goes on as the model's template writes thoughts, or is not sent."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from omniopd.auditing import audit
from omniopd.method.tensors import exact_similarity
from omniopd.models.text.chat import prompt_ids
from omniopd.models.text.token_text import pieces
from omniopd.models.text.vocabulary import tokenizer_mark
from omniopd.teachers.handover import handover_named
from omniopd.teachers.handover.base import UnsupportedRequest
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.model_traits import traits_of
from omniopd.types import ContinuationRequest, Fork, Rollout
from tests.builders import prompt, request, tiny_model
from tests.wire.families import family, special_tokens, thinking

START = "<|im_start|>assistant\n"


def ids_read(teacher: LocalTeacher, asked: ContinuationRequest) -> tuple[int, ...]:
    """The ids that the teacher's model continues."""
    return teacher._template.shown(asked, teacher._vocabulary).ids


def told(thoughts: str, prefix: str, student_thinks: bool | None = None) -> str:
    """What a raw handover has the model read of its own turn, from ids; as a text it is the same."""
    tokenizer = thinking(thoughts)
    template = ChatTemplate(tokenizer, student_thinks)
    ids = handover_named("raw", traits_of("hosted_vllm/x"), template).render(request(prefix)).prompt
    text = handover_named("raw", traits_of("text-completion-openai/x"), template).render(request(prefix)).prompt
    decoded = tokenizer.decode(list(ids))
    assert decoded == text
    # A model that runs here reads the same; and so does each where the request itself says whether the student thinks.
    assert ids_read(LocalTeacher(tiny_model(), tokenizer, student_thinks=student_thinks), request(prefix)) == ids
    said = replace(request(prefix), in_thought=thoughts == "open" if student_thinks is None else student_thinks)
    assert ids_read(LocalTeacher(tiny_model(), tokenizer), said) == ids
    # Nor does it change anything that the prefix comes as the student's own ids.
    own = tuple(tokenizer(prefix, add_special_tokens=False).input_ids)
    said = replace(said, prefix_ids=own, tokenizer=tokenizer_mark(tokenizer))
    assert ChatTemplate(tokenizer).shown(said).ids == ids
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
    with pytest.raises(UnsupportedRequest, match="does not know"):
        raw.render(request("<think>\nso"))
    assert raw.render(request("<think>\nso</think> It")).prompt


@pytest.mark.parametrize("name", ["prefill", "instruction"])
def test_a_message_holds_no_half_thought(name: str) -> None:
    handover = handover_named(name, traits_of("anthropic/claude-haiku-4-5"))
    with pytest.raises(UnsupportedRequest, match="half a thought"):
        handover.render(request("<think>\nso"))
    assert handover.render(request("<think>\nso</think> It")).messages
    opened = handover_named(name, traits_of("anthropic/claude-haiku-4-5"), student_thinks=True)
    with pytest.raises(UnsupportedRequest, match="half a thought"):
        opened.render(request("so"))
    assert opened.render(request("so</think> It")).messages


def test_a_model_that_names_channels_answers_in_the_final_one() -> None:
    tokenizer = family("GPT-OSS")
    ids = handover_named("raw", traits_of("hosted_vllm/x"), ChatTemplate(tokenizer)).render(request("It is")).prompt
    assert tokenizer.decode(list(ids)).endswith("<|start|>assistant<|channel|>final<|message|>It is")
    assert special_tokens(tokenizer, list(ids))[-3:] == ["<|start|>", "<|channel|>", "<|message|>"]


def test_thoughts_join_to_an_empty_one_as_the_template_writes_it_token_by_token() -> None:
    """`<think>`, a blank line as one token, `</think>`: that a text was put together must not show in its ids."""
    opens, off = thinking("open"), thinking("off")
    asked = request("It is")
    joined = ChatTemplate(opens, False).ids(asked.prompt.messages, asked.prefix)
    assert joined == ChatTemplate(off).ids(asked.prompt.messages, asked.prefix)


@pytest.mark.parametrize("thoughts", ["own", "open", "off"])
def test_tags_that_are_special_tokens_are_seen_among_the_students_ids(thoughts: str) -> None:
    """No text shows them, so that only its ids tell that the student thinks."""
    tokenizer = copy.deepcopy(thinking(thoughts))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    ids = tokenizer("<think>\nso", add_special_tokens=False).input_ids
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert text == "\nso"
    asked = replace(request(text), prefix_ids=tuple(ids), tokenizer=tokenizer_mark(tokenizer), in_thought=False)
    shown = ChatTemplate(tokenizer).shown(asked)
    assert tokenizer.decode(list(shown.ids)).split(START)[1] == "<think>\nso"
    assert shown.exact


def thinking_student(opened: bool, text: str, seed: int = 0) -> tuple[Rollout, Fork]:
    """A student's answer by a template that opens a thought or does not, and a fork at its end."""
    own = thinking("open" if opened else "own")
    ids = own(text, add_special_tokens=False).input_ids
    before, plain = torch.tensor(prompt_ids(own, prompt().messages)), torch.zeros(len(ids))
    student = Rollout(prompt(), before, torch.tensor(ids), plain, plain, pieces(own, ids))
    return student, Fork(len(ids) - 1, len(ids), 1.0)


@pytest.mark.parametrize(
    ("opened", "teachers", "text", "expected"),
    [
        (False, "open", "The answer is 5", "<think>\n\n</think>\n\nThe answer is "),
        (True, "own", "hm, 2 plus 3", "<think>\nhm, 2 plus "),
        (True, "open", "hm, 2 plus 3", "<think>\nhm, 2 plus "),
        (True, "off", "hm</think>It is 5", "<think>\nhm</think>It is "),
    ],
)
def test_an_audit_tells_every_teacher_whether_the_student_thinks(
    opened: bool, teachers: str, text: str, expected: str
) -> None:
    student, fork = thinking_student(opened, text)
    heard: list[str] = []

    class Listening(LocalTeacher):
        def continue_from(self, requests, on_result=None):
            heard.extend(self.tokenizer.decode(ids) for ids in (ids_read(self, each) for each in requests))
            return super().continue_from(requests, on_result)

    own = thinking("open" if opened else "own")
    teacher = Listening(wide(), thinking(teachers))
    [item] = audit([student], [[fork]], teacher, exact_similarity, 1, tokenizer=own)
    assert heard[0].split(START)[1] == expected
    assert item.audits[0].continuations.exact


def wide() -> torch.nn.Module:
    model = copy.deepcopy(tiny_model())
    model.resize_token_embeddings(310)
    return model


def test_a_local_teacher_without_thoughts_leaves_half_of_one_unaudited_and_says_why() -> None:
    student, fork = thinking_student(True, "hm, 2 plus 3")
    teacher = LocalTeacher(wide(), family("ChatML"))
    [item] = audit(
        [student], [[fork]], teacher, exact_similarity, 1, tokenizer=thinking("open"), tokens_per_student_token=1.1
    )
    assert "which the teacher's chat template does not know" in item.unanswered[0].problem


def test_answers_to_imitate_are_asked_for_outside_a_thought_where_the_student_has_none() -> None:
    from omniopd.training.baselines.sft import teacher_answers

    heard: list[str] = []

    class Listening(LocalTeacher):
        def continue_from(self, requests, on_result=None):
            heard.extend(self.tokenizer.decode(ids_read(self, each)).split(START)[1] for each in requests)
            return super().continue_from(requests, on_result)

    teacher = Listening(wide(), thinking("open"))
    for student in (thinking("own"), thinking("open")):
        teacher_answers([prompt()], teacher, student, answers=1, max_tokens=2)
    assert heard == ["<think>\n\n</think>\n\n", "<think>\n"]
