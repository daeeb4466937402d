"""Whoever waits for a teacher hears how far it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.teachers.watched import WatchedTeacher
from tests.builders import request
from tests.teachers.faulty_server import Served
from tests.teachers.test_hosted import ASKED, hosted

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")


def test_each_call_that_is_over_counts_and_one_that_failed_is_an_attempt(tmp_path: Path) -> None:
    said: list[str] = []
    with Served(faults=lambda number, body: "500" if number in (1, 2) else None) as server:
        remembering = CachedTeacher(hosted(server, concurrency=1), tmp_path / "answers.sqlite")
        watched = WatchedTeacher(remembering, said.append, wanted=10)
        first = watched.continue_from(ASKED)
        assert all(answer.problem is None for answer in first)
        assert (said[0], said[1], said[-1]) == ("1 of 10 texts", "1 of 10 texts, attempt 2", "10 of 10 texts")
        assert "1 of 10 texts, attempt 3" in said
        heard = list(said)
        assert [a.texts for a in watched.continue_from(ASKED)] == [a.texts for a in first]
    assert said == heard  # what is remembered is not waited for


def test_where_nobody_knows_how_many_there_will_be_they_are_counted() -> None:
    said: list[str] = []
    with Served() as server:
        WatchedTeacher(hosted(server, concurrency=1), said.append).continue_from([request("the cat", 2, seed=1)])
    assert said == ["1 text", "2 texts"]


def test_a_teacher_that_shows_no_calls_answers_as_it_does() -> None:
    said: list[str] = []
    asked = [request("the cat", 2, seed=1)]
    [answer] = WatchedTeacher(ScriptedTeacher(["a", "b"]), said.append, wanted=2).continue_from(asked)
    assert (answer.texts, said) == (("a", "b"), [])
