"""The ids that a teacher continues are the student's own wherever ids can go over, and `exact` says so and only so."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from omniopd.auditing import audit
from omniopd.method.tensors import exact_similarity
from omniopd.models.decoding import continue_ids, row_seed
from omniopd.models.loading import load_tokenizer
from omniopd.models.text.chat import prompt_ids
from omniopd.models.text.token_text import decode_whole, pieces
from omniopd.models.text.vocabulary import same_tokenizer, tokenizer_mark
from omniopd.teachers.handover import handover_named
from omniopd.teachers.handover.base import WHITESPACE_NOT_RESTORED
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.model_traits import traits_of
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.resolve_teacher import resolve_teacher
from omniopd.types import ContinuationRequest, Continuations, Fork, Rollout, Teacher
from tests.builders import CHAT, prompt, tiny_model, tiny_tokenizer
from tests.teachers.faulty_server import Served
from tests.teachers.test_hosted import hosted

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")

TEXTS = (
    "the cat sat on the mat,  and\n\nthe dog ran:\n    return 12 + 30\n", "So 15 + 27 = 42.\n\n#### 42",
    "é🙂 中文的 the\t x\n\n\n",
)  # fmt: skip


@lru_cache(maxsize=4)
def real_tokenizer() -> PreTrainedTokenizerFast:
    """The one of 65,000 tokens that litellm ships, as a chat model's."""
    [folder] = find_spec("litellm").submodule_search_locations
    file = Path(folder) / "litellm_core_utils" / "tokenizers" / "anthropic_tokenizer.json"
    backend = Tokenizer.from_file(str(file))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<EOT>", pad_token="<EOT>", clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def other_tokenizer() -> PreTrainedTokenizerFast:
    """Reads every text as bytes: other ids than the tiny tokenizer's, and every text its own."""
    backend = Tokenizer.from_str(tiny_tokenizer().backend_tokenizer.to_str())
    written = json.loads(backend.to_str())
    written["model"]["merges"] = written["model"]["merges"][:5]
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(written)), eos_token="<|im_end|>", pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    made.chat_template = CHAT
    return made


def sampled(tokenizer: PreTrainedTokenizerFast, draw: random.Random) -> list[int]:
    """An answer as a student of this tokenizer may write it: now a word as one token, now letter by letter."""
    ids: list[int] = []
    for text in draw.choices(TEXTS, k=2):
        for piece in (text[n : n + 3] for n in range(0, len(text), 3)) if draw.random() < 0.5 else [text]:
            ids += tokenizer(piece, add_special_tokens=False).input_ids
    return ids


def written_by(tokenizer: PreTrainedTokenizerFast, count: int, seed: int = 0) -> list[ContinuationRequest]:
    """`count` requests for prefixes of sampled answers, as an audit makes them."""
    asked: list[ContinuationRequest] = []
    draw, mark = random.Random(seed), tokenizer_mark(tokenizer)
    while len(asked) < count:
        ids = sampled(tokenizer, draw)
        found = pieces(tokenizer, ids)
        asked += [
            ContinuationRequest(
                prompt(), "".join(found[:at]), 1, 1, prefix_ids=tuple(ids[:at]), tokenizer=mark, in_thought=False
            )
            for at in range(len(ids))
            if at == 0 or found[at - 1]
        ]
    return asked[:count]


def rollout_of(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> Rollout:
    plain = torch.zeros(len(ids))
    before = torch.tensor(prompt_ids(tokenizer, prompt().messages))
    return Rollout(prompt(), before, torch.tensor(ids), plain, plain, pieces(tokenizer, ids))


def encoded(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)


# ── which tokenizers are one ─────────────────────────────────────────────────────────────────────────────────────────


def changed(change: Callable[[Any], Any]) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with something else in what its backend writes down."""
    backend = Tokenizer.from_str(tiny_tokenizer().backend_tokenizer.to_str())
    written = json.loads(backend.to_str())
    change(written)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(written)), eos_token="<|im_end|>")


def swapped(written: Any) -> None:
    vocabulary = written["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


def test_a_tokenizer_is_the_same_whatever_frames_a_text_with_it() -> None:
    tokenizer = tiny_tokenizer()
    other = copy.deepcopy(tokenizer)
    other.chat_template, other.padding_side, other.model_max_length = "{{ messages }}", "right", 7
    other.backend_tokenizer.enable_truncation(5)
    other.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    other.eos_token = "<|endoftext|>"
    assert same_tokenizer(tokenizer, other)
    assert tokenizer_mark(load_tokenizer("embedded:student")) == tokenizer_mark(load_tokenizer("embedded:teacher"))


@pytest.mark.parametrize(
    "change",
    [
        swapped,
        lambda w: w["model"]["merges"].reverse(),
        lambda w: w.update(normalizer=json.loads(normalizers.NFKC().__getstate__())),
        lambda w: w.update(pre_tokenizer=json.loads(pre_tokenizers.ByteLevel(add_prefix_space=False).__getstate__())),
        lambda w: w.update(decoder=json.loads(decoders.Sequence([decoders.ByteLevel()]).__getstate__())),
        lambda w: w["added_tokens"].append({**w["added_tokens"][0], "id": 300, "content": "<|more|>"}),
        lambda w: w["added_tokens"][1].update(special=False),
    ],
    ids=["ids", "merges", "normaliser", "pre-tokenizer", "decoder", "added token", "special token"],
)
def test_a_tokenizer_that_reads_or_writes_otherwise_is_another(change: Callable[[Any], Any]) -> None:
    assert not same_tokenizer(tiny_tokenizer(), changed(change))
    assert same_tokenizer(tiny_tokenizer(), changed(lambda written: None))


def test_a_token_that_was_added_later_makes_another_tokenizer() -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    before = tokenizer_mark(tokenizer)
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    assert tokenizer_mark(tokenizer) != before


# ── what goes over ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tokenizer", [real_tokenizer, lambda: load_tokenizer("embedded:student")], ids=["real", "lab"])
def test_twenty_thousand_sampled_prefixes_go_over_as_the_students_ids(tokenizer: Callable[[], Any]) -> None:
    own = tokenizer()
    asked = written_by(own, 20_000)
    server = handover_named("raw", traits_of("hosted_vllm/m"), ChatTemplate(own))
    before = tuple(prompt_ids(own, prompt().messages))
    reencoded = 0
    for request in asked:
        sent = server.render(request)
        assert sent.prompt == before + request.prefix_ids
        assert (sent.exact, sent.unsent) == (True, "")
        reencoded += reencoded < 500 and request.prefix_ids != encoded(own, request.prefix)
    assert reencoded == 500, "prefixes that are encoded to other ids are among them"


def test_an_audit_asks_with_the_ids_of_its_rollouts() -> None:
    own, teacher = real_tokenizer(), ScriptedTeacher(lambda _: [])
    ids = sampled(own, random.Random(3))
    student = rollout_of(own, ids)
    audit([student], [[Fork(at, at + 1, 1.0) for at in range(len(ids))]], teacher, exact_similarity, 1, tokenizer=own)
    for request in teacher.requests:
        assert list(request.prefix_ids) == ids[: len(request.prefix_ids)]
        assert request.prefix == own.decode(request.prefix_ids)
        assert (request.tokenizer, request.in_thought) == (tokenizer_mark(own), False)
    assert len({request.prefix_ids for request in teacher.requests}) > 20
    audit([student], [[Fork(5, 6, 1.0)]], teacher, exact_similarity, 1)
    assert teacher.requests[-1].prefix_ids is None


def test_a_server_that_takes_texts_is_exact_just_where_it_encodes_them_to_the_students_ids() -> None:
    own = real_tokenizer()
    server = handover_named("raw", traits_of("text-completion-openai/m"), ChatTemplate(own))
    before, found = tuple(prompt_ids(own, prompt().messages)), set()
    for request in written_by(own, 600, seed=1):
        sent = server.render(request)
        read = encoded_by_a_server(own, sent.prompt)
        whole = sent.prompt.endswith(request.prefix)
        assert sent.exact == (whole and read == before + request.prefix_ids)
        assert sent.prompt == before_text(own) + request.prefix.removesuffix(sent.unsent)
        # What is not exact ends in no white space: the answer brings it.
        assert sent.exact or sent.prompt == sent.prompt.rstrip() or not request.prefix.strip()
        assert sent.extra_tokens == len(sent.unsent)
        found.add((sent.exact, bool(sent.unsent)))
    assert found == {(True, False), (False, False), (False, True)}


def encoded_by_a_server(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text).input_ids)


def before_text(tokenizer: PreTrainedTokenizerFast) -> str:
    messages = list(prompt().messages)
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def letters(word: str) -> list[int]:
    return [tiny_tokenizer().convert_tokens_to_ids(letter) for letter in word]


AS_LETTERS = [*letters("the"), *tiny_tokenizer()(" cat sat", add_special_tokens=False).input_ids]


def asked_after(ids: Sequence[int], teacher: Teacher, samples: int = 2, **more: Any) -> Any:
    """The audit of the last token of an answer."""
    student = rollout_of(tiny_tokenizer(), ids)
    fork = Fork(len(ids) - 1, len(ids), 1.0)
    [item] = audit([student], [[fork]], teacher, exact_similarity, samples, tokenizer=tiny_tokenizer(), **more)
    return item


def test_what_arrives_at_a_server_are_the_students_ids() -> None:
    with Served() as server:
        traits = traits_of("hosted_vllm/m")
        teacher = hosted(server, handover="raw", template=ChatTemplate(tiny_tokenizer()), traits=traits)
        [found] = asked_after(AS_LETTERS, teacher).audits
        assert server.seen[0].body["prompt"] == prompt_ids(tiny_tokenizer(), prompt().messages) + AS_LETTERS[:-1]
    assert (found.continuations.exact, found.reencodes) == (True, True)
    assert encoded(tiny_tokenizer(), "the cat") != tuple(AS_LETTERS[:-1])


def slowly(teacher: LocalTeacher, request: ContinuationRequest, ids: Sequence[int]) -> list[list[int]]:
    """Draw by draw, after the ids that the student wrote."""
    before = prompt_ids(tiny_tokenizer(), request.prompt.messages)
    base = row_seed(request.seed, request.prompt.id, request.prefix)
    draws = range(request.first_sample, request.first_sample + request.samples)
    ends = [tiny_tokenizer().eos_token_id]
    return [
        continue_ids(teacher.model, [[*before, *ids]], [row_seed(base, n)], request.max_tokens, eos_ids=ends)[0]
        for n in draws
    ]


class Heard:
    """Keeps what a teacher was asked."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher, self.requests = teacher, list[ContinuationRequest]()

    def continue_from(self, requests, on_result=None) -> list[Continuations]:
        self.requests += requests
        return self.teacher.continue_from(requests, on_result)


def test_a_local_teacher_the_students_redraws_and_a_self_teacher_continue_the_students_ids() -> None:
    model = tiny_model(dtype=torch.float64)
    local, redraws = LocalTeacher(model, tiny_tokenizer()), Heard(LocalTeacher(model, tiny_tokenizer()))
    own = resolve_teacher(local, "self_teacher", model, tiny_tokenizer())
    for teacher in (local, own):
        heard = Heard(teacher)
        [found] = asked_after(AS_LETTERS, heard, samples=9, redraws=4, student=redraws).audits
        said = slowly(local, heard.requests[0], AS_LETTERS[:-1])
        assert found.continuations.texts == tuple(decode_whole(tiny_tokenizer(), [], ids) for ids in said)
        assert found.continuations.exact
    again = redraws.requests[-1]
    assert again.prefix_ids == tuple(AS_LETTERS[:-1])
    assert (again.first_sample, again.samples) == (9, 4)
    shown = redraws.teacher._template.shown(again)
    assert shown.ids[-len(AS_LETTERS) + 1 :] == tuple(AS_LETTERS[:-1])


def test_an_id_that_no_token_has_goes_to_a_model_that_holds_it_and_to_no_server() -> None:
    wide = copy.deepcopy(tiny_model())
    wide.resize_token_embeddings(310)
    ids = [*AS_LETTERS[:2], 305, *AS_LETTERS[2:]]
    request = ContinuationRequest(
        prompt(), "the cat", 1, 1, prefix_ids=tuple(ids[:-1]), tokenizer=tokenizer_mark(tiny_tokenizer())
    )
    teacher = LocalTeacher(wide, tiny_tokenizer())
    assert teacher._template.shown(request, teacher._vocabulary).ids[-len(ids) + 1 :] == tuple(ids[:-1])
    [narrow] = LocalTeacher(tiny_model(), tiny_tokenizer()).continue_from([request])
    served = handover_named("raw", traits_of("hosted_vllm/m"), ChatTemplate(tiny_tokenizer())).render(request)
    assert (narrow.exact, served.exact) == (False, False)
    assert 305 not in served.prompt
    none = dataclasses.replace(request, prefix_ids=(-1,))
    assert not LocalTeacher(wide, tiny_tokenizer()).continue_from([none])[0].exact


@pytest.mark.parametrize("model", ["anthropic/claude-haiku-4-5", "deepseek/deepseek-chat", "gemini/gemini-2.5-flash"])
def test_a_provider_that_takes_messages_is_exact_only_where_nothing_was_written(model: str) -> None:
    prefill = handover_named("prefill", traits_of(model))
    mark = tokenizer_mark(tiny_tokenizer())
    begun = prefill.render(ContinuationRequest(prompt(), "x =\n\n", 1, 1, prefix_ids=(1, 2), tokenizer=mark))
    nothing = prefill.render(ContinuationRequest(prompt(), "", 1, 1, prefix_ids=(), tokenizer=mark))
    assert (begun.exact, begun.unsent, begun.messages[-1]["content"]) == (False, "\n\n", "x =")
    assert prefill.parse(begun, "\n\n5").text == "5"
    assert prefill.parse(begun, "\n5").problem == WHITESPACE_NOT_RESTORED
    assert nothing.exact


def test_a_teacher_with_another_tokenizer_never_takes_the_ids_and_restores_the_white_space() -> None:
    """Its texts are those of its own draws after the trimmed prefix that begin with the white space; by hand."""
    other = other_tokenizer()
    teacher = LocalTeacher(tiny_model(spread=0.05), other)
    request = ContinuationRequest(
        prompt(), "the cat ", 12, 4, prefix_ids=tuple(encoded(tiny_tokenizer(), "the cat ")),
        tokenizer=tokenizer_mark(tiny_tokenizer()),
    )  # fmt: skip
    before = [*prompt_ids(other, prompt().messages), *encoded(other, "the cat")]
    assert teacher._template.shown(request, teacher._vocabulary).ids == tuple(before)
    base, wanted = row_seed(0, prompt().id, "the cat "), {}
    for number in range(12):
        for again in ((), *((n,) for n in range(1, 6))):
            [ids] = continue_ids(teacher.model, [before], [row_seed(base, number, *again)], 5, eos_ids=[2])
            text = decode_whole(other, before, ids)
            if text.startswith(" "):
                wanted[number] = text[1:]
                break
    [answer] = teacher.continue_from([request])
    assert len(wanted) < 12, "few tokens begin with a space"
    assert answer.problem == WHITESPACE_NOT_RESTORED
    assert answer.texts == tuple(wanted[n] for n in sorted(wanted)) != ()
    assert not answer.exact
