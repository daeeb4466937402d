"""What is recorded of the student's ids: in statistics, in the keys of a cache, in the ratio of two tokenizers."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from omniopd.errors import ConfigError
from omniopd.models.text.vocabulary import tokenizer_mark
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.model_traits import traits_of
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.statistics import audit_statistics
from omniopd.types import ContinuationRequest
from tests.builders import CHAT, prompt, tiny_model, tiny_tokenizer
from tests.teachers.faulty_server import Served
from tests.teachers.test_hosted import hosted
from tests.teachers.test_student_ids import AS_LETTERS, asked_after, encoded, other_tokenizer

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")


# ── what is known of it afterwards ───────────────────────────────────────────────────────────────────────────────────


def test_the_share_of_prefixes_that_are_encoded_otherwise_is_logged() -> None:
    canonical = list(encoded(tiny_tokenizer(), "the cat sat"))
    teacher = LocalTeacher(tiny_model(), tiny_tokenizer())
    audited = [asked_after(ids, teacher) for ids in (AS_LETTERS, canonical, canonical, canonical)]
    metrics = audit_statistics(audited, [])
    assert metrics["forks/reencoded_share"] == 0.25
    assert metrics["teacher/exact_share"] == 1


def old_question(identity: dict[str, Any], request: ContinuationRequest) -> str:
    """The key of an answer as it was made before requests carried ids."""
    asked = [
        json.dumps(identity, sort_keys=True), request.prompt.id, [dict(m) for m in request.prompt.messages],
        request.prefix, request.max_tokens, request.seed,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def test_ids_that_were_sent_are_in_the_key_and_old_answers_are_found_where_they_still_answer(tmp_path: Path) -> None:
    mark = tokenizer_mark(tiny_tokenizer())

    def ask(ids: Sequence[int], prefix: str = "the cat") -> ContinuationRequest:
        return ContinuationRequest(prompt(), prefix, 1, 4, prefix_ids=tuple(ids), tokenizer=mark)

    canonical, by_letters = ask(encoded(tiny_tokenizer(), "the cat")), ask(AS_LETTERS[:-1])
    with Served() as server:
        render = ChatTemplate(tiny_tokenizer())
        raw = hosted(server, handover="raw", template=render, traits=traits_of("hosted_vllm/m"))
        claude = hosted(server, handover="instruction")
        sampling = {"temperature": 1.0, "top_p": 1.0}
        known = {"kind": "hosted", "endpoint": server.url, "model": "hosted_vllm/m"}
        old_raw = {
            **known, "handover": "raw", "template": render.mark,
            "sampling": {**sampling, **traits_of("hosted_vllm/m").parameters},
        }  # fmt: skip
        old_claude = {**known, "handover": "instruction", "sampling": {"temperature": 1.0}}
        cached = CachedTeacher(raw, tmp_path / "raw.sqlite")
        assert cached.question(canonical) == old_question(old_raw, canonical)
        assert cached.question(by_letters) != cached.question(canonical)
        instructed = CachedTeacher(claude, tmp_path / "claude.sqlite")
        assert instructed.question(by_letters) == old_question(old_claude, canonical)
        other = hosted(
            server, handover="raw", template=ChatTemplate(other_tokenizer()), traits=traits_of("hosted_vllm/m")
        )
        assert CachedTeacher(other, tmp_path / "raw.sqlite").question(canonical) != cached.question(canonical)
        for request in (canonical, by_letters, canonical, by_letters):
            cached.continue_from([request])
        assert [tuple(seen.body["prompt"][-len(AS_LETTERS) + 1 :]) for seen in server.seen][1] == by_letters.prefix_ids
        assert len(server.seen) == 2


def test_wording_cleaning_and_a_local_teachers_template_are_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omniopd.teachers.handover import cleaning, instruction

    request = ContinuationRequest(prompt(), "the cat", 1, 4)
    with Served() as server:
        keys = {CachedTeacher(hosted(server), tmp_path / "a.sqlite").question(request)}
        for module, name, value in (
            (instruction, "_INSTRUCTION", instruction._INSTRUCTION + " Please."),
            (cleaning, "ECHO_CHARACTERS", 13),
            (cleaning, "VERSION", 2),
        ):
            with monkeypatch.context() as patched:
                patched.setattr(module, name, value)
                keys.add(CachedTeacher(hosted(server), tmp_path / "a.sqlite").question(request))
    assert len(keys) == 4
    renamed = copy.deepcopy(tiny_tokenizer())
    renamed.chat_template = CHAT.replace("assistant", "helper")
    local = {
        CachedTeacher(LocalTeacher(tiny_model(), own, student_thinks=thinks), tmp_path / "b.sqlite").question(request)
        for own, thinks in (
            (tiny_tokenizer(), None), (copy.deepcopy(tiny_tokenizer()), None), (renamed, None),
            (tiny_tokenizer(), True), (other_tokenizer(), None),
        )
    }  # fmt: skip
    assert len(local) == 4


# ── another tokenizer, one ratio ─────────────────────────────────────────────────────────────────────────────────────


def test_another_tokenizer_with_a_ratio_of_one_is_refused_with_the_ratio_to_set() -> None:
    """Byte by byte the text takes so many tokens: counted by hand."""
    teacher = LocalTeacher(tiny_model(), other_tokenizer())
    own, its = encoded(tiny_tokenizer(), "the cat sat"), encoded(other_tokenizer(), "the cat sat")
    ratio = -(-20 * len(its) // len(own)) / 20
    with pytest.raises(ConfigError, match=rf"set teacher\.tokens_per_student_token to {ratio:.2f}"):
        asked_after(AS_LETTERS, teacher)
    with Served() as server:
        served = hosted(
            server, handover="raw", template=ChatTemplate(other_tokenizer()), traits=traits_of("hosted_vllm/m")
        )
        with pytest.raises(ConfigError, match="they have not"):
            asked_after(AS_LETTERS, served)
        assert server.seen == []
    assert asked_after(AS_LETTERS, teacher, tokens_per_student_token=ratio).audits
    assert asked_after(AS_LETTERS, ScriptedTeacher([" sat"])).audits
