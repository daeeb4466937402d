"""A scripted teacher says what it was told, draw by draw."""

from __future__ import annotations

import pytest

from omniopd.errors import ConfigError
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.types import Continuations
from tests.builders import request


def test_a_list_is_drawn_from_in_turn_and_later_draws_go_on() -> None:
    teacher = ScriptedTeacher(["a", "b", "c"])
    first, later = teacher.continue_from([request(samples=2), request(samples=2, first_sample=2)])
    assert first.texts == ("a", "b")
    assert later.texts == ("c", "a")


def test_a_function_sees_the_request_and_may_fail() -> None:
    def script(asked):
        return Continuations((), problem="refused") if "dog" in asked.prefix else [asked.prefix.upper()] * asked.samples

    said, failed = ScriptedTeacher(script).continue_from([request("cat", 2), request("dog")])
    assert said.texts == ("CAT", "CAT")
    assert failed.problem == "refused"


def test_it_remembers_what_it_was_asked() -> None:
    teacher = ScriptedTeacher(["a"])
    teacher.continue_from([request("x"), request("y")])
    assert [asked.prefix for asked in teacher.requests] == ["x", "y"]


@pytest.mark.parametrize("nothing", [[], "a text"])
def test_a_script_without_texts_is_refused(nothing) -> None:
    with pytest.raises(ConfigError, match="give it a list"):
        ScriptedTeacher(nothing)
