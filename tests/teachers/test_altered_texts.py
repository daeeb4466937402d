"""A text altered on its way is not a continuation: echoes are counted and never shorten one, thoughts neither."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from omniopd.auditing import audit
from omniopd.method.tensors import edit_similarity
from omniopd.records import AuditRecord, read_record, record_json
from omniopd.teachers.cache.answer_store import StoredAnswer
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.training.recording import audit_record
from omniopd.types import Fork
from tests.builders import request, rollout
from tests.teachers.faulty_server import Served
from tests.teachers.test_hosted import QUICK, hosted
from tests.wire.server import Received, Reply, WireServer

PREFIX = "Ann has 3 apples and buys 4 more."


def saying(texts: Sequence[str], finish: str = "stop") -> WireServer:
    """A chat server whose calls get these texts, one after another, the last one ever after."""
    left = list(texts)

    def answer(received: Received) -> Reply:
        text = left.pop(0) if len(left) > 1 else left[0]
        choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}]
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        said = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
        return Reply(said)

    return WireServer(answer)


def instructed(server: WireServer) -> HostedTeacher:
    return HostedTeacher("openai/gpt-4.1", api_base=server.url + "/v1", patience=QUICK, concurrency=1)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "DEEPSEEK_API_KEY", "MISTRAL_API_KEY"):
        monkeypatch.setenv(name, "no-key-at-all")


def test_an_echo_is_cut_off_a_text_that_ends_by_itself_and_counted() -> None:
    with saying([PREFIX + " That is 7.", " That is 7."]) as server:
        echoing, plain = (instructed(server).continue_from([request(PREFIX, 1)])[0] for _ in range(2))
    assert (echoing.texts, echoing.echoes) == ((" That is 7.",), 1)
    assert (plain.texts, plain.echoes) == ((" That is 7.",), 0)


def test_an_echo_that_ran_into_the_limit_of_tokens_is_drawn_again_and_counted() -> None:
    """What is left of it may be shorter than the chunk: it would count as disagreement."""
    echo = PREFIX + " That"
    with saying([echo, echo, " That is 7."], finish="length") as server:
        [answer] = instructed(server).continue_from([request(PREFIX, 1)])
        assert (answer.texts, answer.echoes, answer.problem, answer.usage.calls) == ((" That is 7.",), 2, None, 3)
    with saying([echo], finish="length") as server:
        [answer] = instructed(server).continue_from([request(PREFIX, 1)])
        assert (answer.texts, answer.problem) == ((), "echo")


def test_echoes_are_remembered_and_old_answers_are_read_without(tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    with saying([PREFIX + " That is 7."]) as server:
        teacher = instructed(server)
        [bought] = CachedTeacher(teacher, file).continue_from([request(PREFIX, 2)])
        [found] = CachedTeacher(teacher, file, "replay").continue_from([request(PREFIX, 2)])
    assert (bought.echoes, found.echoes, found.cached) == (2, 2, True)
    before = {"text": "a", "stopped": False, "served": "m", "handover": "raw", "exact": True}
    assert StoredAnswer(**before).echoes == 0


def test_a_record_of_an_audit_tells_of_them_and_an_old_one_has_none() -> None:
    whole = rollout([PREFIX, " That", " is"])
    with saying([PREFIX + " That is"]) as server:
        [audited] = audit([whole], [[Fork(1, 3, 1.0)]], instructed(server), edit_similarity, 2)
    record = audit_record(whole, audited.audits[0], None, 1.0)
    assert record.echoes == 2
    line = json.loads(record_json(record))
    del line["echoes"]
    old = read_record(json.dumps(line))
    assert isinstance(old, AuditRecord)
    assert old.echoes == 0
    assert torch.isclose(torch.tensor(old.soft_count), torch.tensor(record.soft_count))


@pytest.mark.parametrize(
    ("model", "path"), [("deepseek/deepseek-chat", "/v1"), ("mistral/mistral-large-latest", "/v1")]
)
def test_an_answer_whose_thought_was_taken_out_does_not_follow_the_prefix(model: str, path: str) -> None:
    returned = PREFIX if model.startswith("mistral") else ""

    def answers(texts: list[str]) -> tuple[tuple[str, ...], str | None]:
        with saying(texts) as server:
            teacher = HostedTeacher(model, api_base=server.url + path, patience=QUICK, concurrency=1)
            assert teacher.handover.exact
            [answer] = teacher.continue_from([request(PREFIX, 1)])
            return answer.texts, answer.problem

    thinking = "<think>hm</think>" + returned + " That is 8."
    assert answers([thinking, returned + " That is 7."]) == ((" That is 7.",), None)
    assert answers([thinking]) == ((), "thought removed")


def test_a_model_that_is_instructed_may_think_before_it_writes() -> None:
    with saying(["<think>hm</think> That is 7."]) as server:
        [answer] = instructed(server).continue_from([request(PREFIX, 1)])
    assert (answer.texts, answer.problem) == ((" That is 7.",), None)


def test_each_draw_has_its_own_echoes_and_is_drawn_again_with_another_seed() -> None:
    """Seeds count on from draw to draw, and the second redraw has one of the other parity."""

    def says(body: object, seed: int) -> str:
        return (PREFIX if seed % 2 else "") + " so it is"

    with Served(answer=says) as server:
        [answer] = hosted(server).continue_from([request(PREFIX, 4)])
    assert (answer.texts, answer.problem, answer.echoes) == ((" so it is",) * 4, None, 2 * 2)
