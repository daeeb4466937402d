"""A scan through a teacher behind an API: each answer is a conversation of its own, and what breaks loses nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from omniopd.auditing import scan
from omniopd.errors import TeacherError
from omniopd.io.interrupts import raise_in
from omniopd.teachers.hosted.retry import RetryPolicy
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.model_traits import ModelTraits
from omniopd.training.statistics import spend
from tests.audits import tokenized
from tests.builders import tiny_tokenizer
from tests.teachers.faulty_server import Served
from tests.wire.saying import KEY

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
ANSWER = "the cat sat on the mat and the dog ran to the man"


def hosted(server: Served, **more: Any) -> HostedTeacher:
    settings: dict[str, Any] = {
        "handover": "instruction", "traits": ModelTraits("hosted_vllm/m", "instruction", most_samples=1),
        "patience": RetryPolicy(pause_s=0.01), "parameters": {"api_key": KEY}, "stream": "never",
    }  # fmt: skip
    return HostedTeacher("hosted_vllm/m", api_base=server.url, **settings | more)


def scanned(server: Served, answers: int = 1, **more: Any) -> Any:
    rollouts = [tokenized(ANSWER, of) for of in range(answers)]
    return scan(rollouts, hosted(server, **more), tiny_tokenizer(), longest=20, tokens_per_student_token=1.3)


def test_the_teachers_words_are_labels_from_one_difference_to_the_next() -> None:
    with Served(answer=lambda body, seed: " dog ran") as server:
        [item] = scanned(server)
    assert len(server.seen) == len(item.audits) + len(item.unanswered) == spend([item]).calls
    labels = {a.fork.start: tiny_tokenizer().decode(a.continuation_ids[0]) for a in item.audits}
    own = tiny_tokenizer()(ANSWER, add_special_tokens=False).input_ids
    dog = [tiny_tokenizer().decode([token]) for token in own].index(" dog")
    assert set(labels.values()) == {" dog"}  # the last word of a text may be cut, and is no label
    assert dog in labels


def test_no_answer_waits_for_another() -> None:
    """While the first call hangs until it is given up, the other answers are scanned to their ends."""
    hangs = {"faults": lambda number, body: "hang" if number == 0 else None, "hang_s": 5}
    with Served(answer=lambda body, seed: " dog ran", **hangs) as server:
        audited = scanned(server, answers=4, call_timeout_s=4)
        slow, *others = sorted(server.seen, key=lambda one: one.came)
    during = [one for one in others if one.came < slow.came + 4]
    assert slow.fault == "hang"
    assert len(during) > 1.5 * spend(audited[:1]).calls  # more than a round of them
    assert not any(item.unanswered for item in audited)


def test_a_scan_ends_at_the_teachers_deadline_and_keeps_the_labels_it_has() -> None:
    def slowly(body: dict[str, Any], seed: int) -> str:
        time.sleep(0.2)
        return " dog ran"

    with Served(answer=slowly) as server:
        [item] = scanned(server, batch_deadline_s=0.7)
    assert item.audits
    assert item.unanswered[-1].problem == "deadline"
    labelled = {place for a in item.audits for place in range(a.fork.start, a.fork.stop)}
    assert len(labelled) < len(item.rollout)


def test_the_last_call_of_a_scan_has_no_longer_than_what_is_left_of_its_deadline() -> None:
    calls = iter([2.5, *[9.0] * 9])

    def slowly(body: dict[str, Any], seed: int) -> str:
        time.sleep(next(calls))
        return " dog ran"

    with Served(answer=slowly) as server:
        began = time.monotonic()
        [item] = scanned(server, batch_deadline_s=4)
        took = time.monotonic() - began
    assert item.audits
    assert item.unanswered[-1].problem == "deadline"
    assert took < 6, f"{took:.1f} s: the second call had four seconds of its own"


def test_a_scan_in_a_thread_ends_where_it_is_interrupted_and_not_with_its_conversations() -> None:
    """As beside a student that trains: no signal reaches such a thread, which is told by `raise_in`."""
    ended: list[BaseException | None] = []

    def slowly(body: dict[str, Any], seed: int) -> str:
        time.sleep(0.4)
        return " dog ran"

    def scans() -> None:
        try:
            scanned(server, answers=1)
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    with Served(answer=slowly) as server:
        thread = threading.Thread(target=scans)
        thread.start()
        while not server.seen:
            time.sleep(0.01)
        assert thread.ident is not None
        raise_in(thread.ident, KeyboardInterrupt)
        thread.join(30)
        asked = len(server.seen)
    assert isinstance(ended[0], KeyboardInterrupt)
    assert asked <= 3  # a whole conversation has a call for nearly each of the answer's words


def test_an_interrupt_ends_a_scan_without_another_call() -> None:
    """Ctrl-C reaches the thread that waits; the calls in flight come to their ends, and no text is asked for after."""
    asked: list[float] = []

    def interrupts(body: dict[str, Any], seed: int) -> str:
        asked.append(time.monotonic())
        if len(asked) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return " dog ran"

    with Served(answer=interrupts) as server:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                scanned(server, answers=3)
        finally:
            signal.signal(signal.SIGINT, before)
        calls = len(server.seen)
        time.sleep(0.3)
        assert len(server.seen) == calls < 20  # of some forty


def test_a_wrong_key_ends_all_conversations_with_one_sentence() -> None:
    with Served(faults=lambda number, body: "401") as server, pytest.raises(TeacherError, match="answers"):
        scanned(server, answers=8)
