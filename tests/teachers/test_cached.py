"""A cached teacher never asks twice for what was paid, keeps no failure, and replays a run with nobody there."""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from omniopd.auditing import audit
from omniopd.errors import ConfigError, TeacherError
from omniopd.method.tensors import edit_similarity
from omniopd.teachers.cache.answer_store import AnswerStore, StoredAnswer
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.model_traits import ModelTraits
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.types import Continuations, Fork
from tests.builders import prompt, request, rollout, tiny_model, tiny_tokenizer
from tests.teachers.faulty_server import Served
from tests.teachers.test_hosted import hosted

SEVERAL = ModelTraits("hosted_vllm/m", "instruction", most_samples=4)
SEEDLESS = ModelTraits("hosted_vllm/m", "instruction", takes_seed=False)


def test_nothing_is_asked_twice_and_what_is_cached_says_so(tmp_path: Path) -> None:
    with Served() as server:
        teacher = CachedTeacher(hosted(server), tmp_path / "a.sqlite")
        [first] = teacher.continue_from([request("a", 3)])
        [again] = teacher.continue_from([request("a", 3)])
        assert (first.cached, again.cached, again.texts) == (False, True, first.texts)
        assert (first.usage.calls, again.usage.calls, len(server.seen)) == (3, 0, 3)
        [more] = teacher.continue_from([request("a", 5)])
        assert more.texts[:3] == first.texts
        assert (more.usage.calls, len(server.seen)) == (2, 5)


def test_everything_that_changes_a_text_is_in_the_key(tmp_path: Path) -> None:
    with Served() as server:
        file = tmp_path / "a.sqlite"
        plain = request("a", 1)
        for asked in (
            plain, request("b", 1), request("a", 1, seed=1), request("a", 1, max_tokens=5),
            request("a", 1, first_sample=1), request("a", 1, of=prompt("other?")),
        ):  # fmt: skip
            CachedTeacher(hosted(server), file).continue_from([asked])
        for teacher in (hosted(server, temperature=0.7), hosted(server, parameters={"top_k": 5})):
            CachedTeacher(teacher, file).continue_from([plain])
        with Served() as elsewhere:
            CachedTeacher(hosted(elsewhere), file).continue_from([plain])
            assert len(elsewhere.seen) == 1
        assert len(server.seen) == 8


def test_how_a_template_writes_a_question_is_in_the_key(tmp_path: Path) -> None:
    other = copy.deepcopy(tiny_tokenizer())
    other.chat_template = str(other.chat_template).replace("assistant", "assistant: ")
    with Served() as server:
        for template in (
            ChatTemplate(tiny_tokenizer()), ChatTemplate(tiny_tokenizer()), ChatTemplate(tiny_tokenizer(), True),
            ChatTemplate(other),
        ):  # fmt: skip
            teacher = hosted(server, handover="raw", template=template)
            CachedTeacher(teacher, tmp_path / "a.sqlite").continue_from([request("a</think>", 1)])
        assert len(server.seen) == 3


def test_a_seedless_providers_draws_are_different_ones_and_stay_the_same(tmp_path: Path) -> None:
    with Served() as server:
        teacher = CachedTeacher(hosted(server, traits=SEEDLESS), tmp_path / "a.sqlite")
        [one, same] = teacher.continue_from([request("a", 6), request("a", 6)])
        assert len(set(one.texts)) > 3
        assert one.texts == same.texts
        assert len(server.seen) == 6


def test_a_part_that_was_paid_is_kept_though_the_request_failed(tmp_path: Path) -> None:
    with Served(faults=lambda number, body: "fewer" if number == 0 else "400" if number == 1 else None) as server:
        teacher = CachedTeacher(hosted(server, traits=SEVERAL), tmp_path / "a.sqlite")
        [failed] = teacher.continue_from([request("a", 4)])
        assert (failed.problem, len(failed.texts)) == ("bad request: told to fail with 400", 1)
        [whole] = teacher.continue_from([request("a", 4)])
        assert whole.texts[:1] == failed.texts
        assert [s.samples for s in server.seen] == [4, 3, 3]


def test_failures_and_refusals_are_not_kept(tmp_path: Path) -> None:
    says = iter([Continuations((), problem="refusal"), ["yes", "yes"]])
    teacher = CachedTeacher(ScriptedTeacher(lambda asked: next(says)), tmp_path / "a.sqlite")
    [refused] = teacher.continue_from([request("a", 2)])
    assert (refused.problem, len(teacher.answers)) == ("refusal", 0)
    assert teacher.continue_from([request("a", 2)])[0].texts == ("yes", "yes")


def test_a_recorded_audit_is_replayed_to_the_bit_with_nobody_there(tmp_path: Path) -> None:
    rollouts = [rollout(("a", " b", " c", " d"), of=prompt(f"{n}?", f"p{n}")) for n in range(4)]
    forks = [[Fork(1, 3, 1.0), Fork(2, 4, 0.5)]] * 4
    with Served() as server:
        live = CachedTeacher(hosted(server, traits=SEEDLESS), tmp_path / "a.sqlite")
        recorded = audit(rollouts, forks, live, edit_similarity, 5, seed=7)
        offline = CachedTeacher(hosted(server, traits=SEEDLESS), tmp_path / "a.sqlite", mode="replay")
        asked = len(server.seen)
    replayed = audit(rollouts, forks, offline, edit_similarity, 5, seed=7)
    assert asked == len(server.seen) == 40
    for then, now in zip(recorded, replayed, strict=True):
        assert [a.texts for a in now.audits] == [a.texts for a in then.audits]
        assert [a.soft_count for a in now.audits] == [a.soft_count for a in then.audits]
        assert all(a.continuations.cached for a in now.audits)
    [unknown] = offline.continue_from([request("never asked", 2)])
    assert (unknown.problem, unknown.texts) == ("not recorded", ())


def test_a_file_with_answers_of_another_model_is_not_mixed(tmp_path: Path) -> None:
    with Served() as server:
        CachedTeacher(hosted(server), tmp_path / "a.sqlite").continue_from([request("a", 1)])
        server.model = "served-2"
        later = CachedTeacher(hosted(server), tmp_path / "a.sqlite")
        with pytest.raises(TeacherError, match="holds answers of 'served-1', and 'served-2' answers now"):
            later.continue_from([request("b", 1)])
        assert len(later.answers) == 1


def test_differently_trained_models_share_no_answers(tmp_path: Path) -> None:
    first, second = (
        CachedTeacher(LocalTeacher(tiny_model(seed), tiny_tokenizer(), name="same"), tmp_path / "a.sqlite")
        for seed in (0, 1)
    )
    first.continue_from([request("a", 3)])
    [other] = second.continue_from([request("a", 3)])
    assert not other.cached
    assert second.continue_from([request("a", 3)])[0].cached


def test_any_text_survives(tmp_path: Path) -> None:
    texts = ["", "🙂\n\t", "\0", "'; DROP TABLE draws; --", "\ufffe\U0010ffff"]
    teacher = CachedTeacher(ScriptedTeacher(texts), tmp_path / "a.sqlite")
    teacher.continue_from([request("a", 5)])
    assert teacher.continue_from([request("a", 5)])[0].texts == tuple(texts)


def test_the_first_text_of_a_draw_stays(tmp_path: Path) -> None:
    one, two = AnswerStore(tmp_path / "a.sqlite"), AnswerStore(tmp_path / "a.sqlite")
    one.add("q", {0: StoredAnswer("first", False, "m", "raw", True)})
    two.add("q", {0: StoredAnswer("second", False, "m", "raw", True), 1: StoredAnswer("new", True, "m", "raw", True)})
    assert [one.of("q")[n].text for n in (0, 1)] == ["first", "new"]


def test_a_file_that_is_none_of_ours_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_text("no database, but a text that is long enough to be looked at as one " * 20)
    with pytest.raises(TeacherError, match="cannot be opened"):
        CachedTeacher(ScriptedTeacher(["a"]), tmp_path / "a.sqlite")
    with pytest.raises(ConfigError, match="there is no such file: record a run first"):
        CachedTeacher(ScriptedTeacher(["a"]), tmp_path / "none.sqlite", mode="replay")
    with pytest.raises(ConfigError, match="one of record, replay"):
        CachedTeacher(ScriptedTeacher(["a"]), tmp_path / "b.sqlite", mode="write")

    class Nameless:
        def continue_from(self, requests, on_result=None):
            return []

    with pytest.raises(ConfigError, match="a Nameless does not say who it is"):
        CachedTeacher(Nameless(), tmp_path / "b.sqlite")


WRITER = """
import sys
from omniopd.teachers.cache.answer_store import AnswerStore, StoredAnswer
answers = AnswerStore(sys.argv[1])
for number in range(10**6):
    answers.add(sys.argv[2], {number: StoredAnswer("x" * 200, False, "m", "raw", True)})
    print(number, flush=True)
"""


def test_no_acknowledged_answer_is_lost_when_writers_are_killed(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    AnswerStore(file).close()
    writers = {
        name: subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file), name], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        for name in ("a", "b")
    }
    acknowledged = {}
    for name, writer in writers.items():
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate(timeout=20)
        acknowledged[name] = 20 + rest.count("\n")
        assert lines[-1] == "19\n"
    answers = AnswerStore(file)
    assert all(set(range(count)) <= set(answers.of(name)) for name, count in acknowledged.items())
    answers.close()
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_nothing_is_acknowledged_before_it_is_written_and_nobody_else_waits_for_the_disk(tmp_path: Path) -> None:
    file, ledger, heard = tmp_path / "a.sqlite", tmp_path / "ledger.jsonl", list[int]()
    with Served() as server, ThreadPoolExecutor(1) as aside:
        hosted(server).continue_from([request("warm", 1)])
        server.seen.clear()
        cached = CachedTeacher(hosted(server), file)
        budgeted = BudgetedTeacher(cached, 1.0, ledger, allow_unknown_price=True)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # another process writes, and takes its time
            requests = [request(f"{n}", 2) for n in range(20)]
            running = aside.submit(budgeted.continue_from, requests, lambda index, answer: heard.append(index))
            until(lambda: len(server.seen) == 40 and all(seen.answered for seen in server.seen))
            [answer] = hosted(server).continue_from([request("meanwhile", 1)])
            assert answer.problem is None
            assert (heard, ledger.read_text().count('"settled"'), len(cached.answers)) == ([], 0, 0)
            other.execute("COMMIT")
        answers = running.result(30)
    assert [len(a.texts) for a in answers] == [2] * 20
    assert sorted(heard) == list(range(20))
    assert (ledger.read_text().count('"settled"'), len(cached.answers)) == (40, 40)


def test_an_answer_that_cannot_be_written_stops_the_run_and_is_paid_for_all_the_same(tmp_path: Path) -> None:
    with Served() as server:
        cached = CachedTeacher(hosted(server), tmp_path / "a.sqlite")
        budgeted = BudgetedTeacher(cached, 1.0, allow_unknown_price=True)
        cached.answers._writer.execute("PRAGMA max_page_count=5")
        long = [request("a" * 20_000, 64)]
        server.answer = lambda body, seed: f"{seed} " * 2000
        with pytest.raises(TeacherError, match=r"could not be written into .*a\.sqlite \(database or disk is full\)"):
            budgeted.continue_from(long)
        # A call that was given up on its way counts, whether or not the server has read it.
        assert 64 >= sum(spend.calls for spend in budgeted.ledger) >= len(server.seen) > 0
        cached.answers._writer.execute("PRAGMA max_page_count=100000")
        before = len(cached.answers)
        [answer] = budgeted.continue_from(long)
        assert (len(answer.texts), answer.problem) == (64, None)
        assert sum(1 for seen in server.seen if seen.answered) >= 64 - before


def until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
