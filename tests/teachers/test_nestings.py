"""A budget holds around every teacher, wherever it stands in a stack of wrappers; or it is refused when it is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omniopd.errors import ConfigError, Refused, TeacherError
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.types import ContinuationRequest, Continuations, Teacher, Usage
from tests.builders import request
from tests.teachers.faulty_server import Served
from tests.teachers.test_budget import PRICE, asked
from tests.teachers.test_hosted import hosted

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")


class Unpriced:
    """A paid teacher of one's own: $6 a request, which it tells afterwards."""

    identity = {"kind": "own"}  # noqa: RUF012

    def __init__(self) -> None:
        self.asked = 0

    def continue_from(self, requests, on_result=None):
        answers = []
        for index, one in enumerate(requests):
            self.asked += 1
            answers.append(Continuations(("text",) * one.samples, usage=Usage(calls=1, cost_usd=6.0)))
            if on_result is not None:
                on_result(index, answers[-1])
        return answers


class Priced(Unpriced):
    """The same, which says beforehand that a request is $8 at most."""

    def most_usd(self, request: ContinuationRequest) -> float:
        return 8.0


class Wrapped:
    """A wrapper of one's own, which passes nothing on but requests and answers."""

    identity = {"kind": "wrapped"}  # noqa: RUF012

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def continue_from(self, requests, on_result=None):
        return self.teacher.continue_from(requests, on_result)


class Stack:
    """Names the layers from the outside: B(udget), C(ache)."""

    def __init__(self, layers: str, folder: Path, usd: float, allow: bool = False) -> None:
        self.layers, self.folder, self.usd, self.allow = layers, folder, usd, allow
        self.budgets: list[BudgetedTeacher] = []

    def around(self, teacher: Teacher) -> Teacher:
        for number, layer in enumerate(reversed(self.layers)):
            if layer == "C":
                teacher = CachedTeacher(teacher, self.folder / f"{number}.sqlite")
            else:
                teacher = BudgetedTeacher(teacher, self.usd, None, allow_unknown_price=self.allow)
                self.budgets.append(teacher)
        return teacher


LAYERS = ["B", "BC", "CB", "BB", "BCB", "BCC", "CBC", "CBBC"]
PAID: dict[str, Callable[[Served], Teacher]] = {
    "a hosted one": lambda server: hosted(server, price=PRICE),
    "one of one's own": lambda server: Priced(),
}


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("make", PAID.values(), ids=PAID)
def test_every_nesting_holds_the_sum_and_asks_for_the_rest_alone(
    layers: str, make: Callable[[Served], Teacher], tmp_path: Path
) -> None:
    """10 requests of $6, of which each may take $8: $20 pay for three at once or one after another, never for more."""
    with Served() as server:
        teacher = make(server)

        def calls() -> int:
            return teacher.asked if isinstance(teacher, Priced) else len(server.seen)

        small = Stack(layers, tmp_path, 20.0)
        with pytest.raises(Refused, match=r"budget of \$20.00 is used up"):
            small.around(teacher).continue_from(asked(10))
        bought = calls()
        assert 2 <= bought <= 3
        assert {budget.spent_usd for budget in small.budgets} == {6.0 * bought}
        assert all(budget.ledger[0].calls == bought for budget in small.budgets)
        large = Stack(layers, tmp_path, 100.0)
        answers = large.around(teacher).continue_from(asked(10))
        assert [(len(a.texts), a.problem) for a in answers] == [(1, None)] * 10
        rest = 10 - bought if "C" in layers else 10
        assert calls() == bought + rest
        assert {budget.spent_usd for budget in large.budgets} == {6.0 * rest}


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("make", [Unpriced, lambda: Wrapped(Priced())])
def test_a_teacher_that_names_no_price_is_refused_when_its_budget_is_made(layers: str, make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a budget of \$5\.00 cannot be held around a (Unpriced|Wrapped)"):
        Stack(layers, tmp_path, 5.0).around(make())


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize(("usd", "allow"), [(math.inf, False), (math.inf, True), (1000.0, True)])
def test_where_an_unknown_price_is_allowed_what_it_came_to_is_counted(
    layers: str, usd: float, allow: bool, tmp_path: Path
) -> None:
    stack = Stack(layers, tmp_path, usd, allow)
    stack.around(Unpriced()).continue_from(asked(4))
    assert {budget.spent_usd for budget in stack.budgets} == {24.0}


def test_a_teacher_that_costs_more_than_it_said_is_named_and_counted(tmp_path: Path) -> None:
    class Dearer(Unpriced):
        def most_usd(self, request: ContinuationRequest) -> float:
            return 1.0

    budget = BudgetedTeacher(teacher := Dearer(), 100.0)
    with pytest.raises(TeacherError, match=r"the teacher Dearer said .* \$1\.00 at most, and it cost \$5\.00 more"):
        budget.continue_from(asked(5))
    assert (teacher.asked, budget.ledger[0].calls) == (1, 5)  # nobody knows about those that were let go with it
    assert budget.spent_usd == 6.0 + 4 * 1.0


@pytest.mark.parametrize("price", [-5.0, math.nan, math.inf, "0.1", True])
@pytest.mark.parametrize("usd", [2.0, math.inf])
def test_a_price_that_is_none_is_refused_before_anything_is_asked(price: Any, usd: float) -> None:
    class Odd(Unpriced):
        def most_usd(self, request: ContinuationRequest) -> Any:
            return price

    budget = BudgetedTeacher(teacher := Odd(), usd)
    with pytest.raises(TeacherError, match="it must say a number from 0"):
        budget.continue_from(asked(5))
    assert (teacher.asked, budget.spent_usd) == (0, 0.0)


def test_a_script_costs_nothing_and_what_a_function_says_is_refused_before_it_is_asked() -> None:
    assert BudgetedTeacher(ScriptedTeacher(["a"]), 0.0).continue_from([request("a", 1)])[0].texts == ("a",)
    unknown = ScriptedTeacher(lambda one: Continuations(("a",), usage=Usage(cost_usd=3.0)))
    with pytest.raises(Refused, match="is not known here"):
        BudgetedTeacher(unknown, 5.0).continue_from([request("a", 1)])
    assert unknown.requests == []


def test_a_recording_is_replayed_in_any_budget(tmp_path: Path) -> None:
    CachedTeacher(Unpriced(), tmp_path / "a.sqlite").continue_from([request("a", 2)])
    replayed = BudgetedTeacher(CachedTeacher(Unpriced(), tmp_path / "a.sqlite", mode="replay"), 0.0)
    [answer] = replayed.continue_from([request("a", 2)])
    assert (answer.texts, replayed.spent_usd) == (("text", "text"), 0.0)


def test_what_a_failing_teacher_may_have_cost_counts_as_spent() -> None:
    class Failing(Priced):
        def continue_from(self, requests, on_result=None):
            raise TeacherError("gone")

    budget = BudgetedTeacher(Failing(), 100.0)
    with pytest.raises(TeacherError, match="gone"):
        budget.continue_from(asked(2))
    assert budget.spent_usd == 16.0
