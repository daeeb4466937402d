"""Several threads and processes with one file of answers: they share commits, and agree on every text."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

from omniopd.teachers.cache.answer_store import AnswerStore, StoredAnswer


def test_answers_that_come_while_the_disk_is_busy_share_one_commit(tmp_path: Path) -> None:
    answers = AnswerStore(tmp_path / "a.sqlite")
    commits: list[str] = []
    assert answers._writer is not None
    answers._writer.set_trace_callback(lambda statement: commits.append(statement) if statement == "COMMIT" else None)
    with contextlib.closing(sqlite3.connect(answers.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        coming = [answers.add_soon("q", {n: StoredAnswer(f"{n}", False, "m", "raw", True)}) for n in range(200)]
        assert not any(done.done() for done in coming)  # nothing is acknowledged that is not on the disk
        other.execute("COMMIT")
    for done in coming:
        done.result(30)
    assert len(commits) <= 2
    assert {n: draw.text for n, draw in answers.of("q").items()} == {n: str(n) for n in range(200)}
    answers.close()


WRITER = """
import sys
from omniopd.teachers.cache.answer_store import AnswerStore, StoredAnswer
sys.stdin.readline()
answers = AnswerStore(sys.argv[1])
for n in range(100):
    drawn = {n: StoredAnswer(sys.argv[2], False, "m", "raw", True)}
    done = [answers.add_soon(f"q{k}", drawn, "t", "m") for k in range(3)]
    [one.result() for one in done]
    print(*(answers.of(f"q{k}")[n].text for k in range(3)))
"""


def test_processes_that_begin_and_write_one_file_at_once_agree_on_every_text(tmp_path: Path) -> None:
    """No file is there yet: they make it at once, too."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "a.sqlite"), f"writer {name}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in range(3)
    ]  # fmt: skip
    said: list[tuple[str, str]] = [("", "")] * 3

    def hear(index: int) -> None:
        said[index] = writers[index].communicate("go\n", timeout=60)

    threads = [threading.Thread(target=hear, args=(index,)) for index in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [error for _, error in said] == [""] * 3
    assert len(said[0][0].splitlines()) == 100
    assert said[0][0] == said[1][0] == said[2][0]


def test_a_forked_process_opens_the_file_anew(tmp_path: Path) -> None:
    good = StoredAnswer("a text", True, "m", "raw", True)
    answers = AnswerStore(tmp_path / "a.sqlite")
    answers.add("q", {0: good})
    child = os.fork()
    if child == 0:
        answers.add("q", {1: good})
        os._exit(0 if set(answers.of("q")) == {0, 1} else 1)
    assert os.waitpid(child, 0)[1] == 0
    answers.add("q", {2: good})
    assert set(answers.of("q")) == {0, 1, 2}
    answers.close()


def test_what_its_parent_was_doing_keeps_no_forked_process_waiting(tmp_path: Path) -> None:
    good = StoredAnswer("a text", True, "m", "raw", True)
    answers = AnswerStore(tmp_path / "a.sqlite")
    answers._waiting.append(None)  # its parent's thread is about to write an answer
    with answers._lock, answers._coming:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            answers.add_soon("q", {1: good}).result(10)
            os._exit(0 if set(answers.of("q")) == {1} else 1)
    assert os.waitpid(child, 0)[1] == 0
    answers._waiting.clear()
    answers.close()
