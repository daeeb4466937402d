"""A scan through a cache gives the labels of one without, again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omniopd import embedded
from omniopd.auditing import scan
from omniopd.models.sampling import sample
from omniopd.teachers.cache.answer_store import AnswerStore, StoredAnswer
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.local import LocalTeacher


def test_the_students_own_tokens_are_kept_where_a_teacher_tells_them(tmp_path: Path) -> None:
    """Labels are read from them: a text that was kept gives the same as one that has just been drawn."""
    lab, file = embedded.lab(), tmp_path / "answers.sqlite"
    teacher = LocalTeacher(lab.teacher, lab.tokenizer)
    answers = sample(lab.student, lab.tokenizer, lab.task.prompts("test", 3), max_tokens=64, seed=0)

    def scanned(by: Any) -> list[Any]:
        found = scan(answers, by, lab.tokenizer, longest=64, by_forward=False)
        return [(audit.fork, audit.texts, audit.continuation_ids) for one in found for audit in one.audits]

    plain, cached = scanned(teacher), CachedTeacher(teacher, file)
    assert len(plain) > 3
    assert scanned(cached) == plain
    assert scanned(CachedTeacher(teacher, file, "replay")) == plain


def test_a_row_without_tokens_is_written_as_before_and_one_with_damaged_tokens_is_none(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "answers.sqlite")
    bare = StoredAnswer(" a", True, "m", "raw", True)
    store.add("q", {0: bare, 1: StoredAnswer(" b", True, "m", "raw", True, token_ids=(5, 7))})
    assert store.of("q")[0] == bare
    assert store.of("q")[1].token_ids == (5, 7)
    with store._lock:
        rows = dict(store._reading.rows("SELECT number, answer FROM draws"))
    assert "token_ids" not in rows[0]
    assert '"token_ids": [5, 7]' in rows[1]
