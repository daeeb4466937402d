"""A budget is never passed: not by many calls at once, not by retries, not by answers that were thrown away."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from omniopd.errors import ConfigError, Refused
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.teachers.spending.ledger import Ledger
from omniopd.teachers.spending.prices import Price
from omniopd.types import Usage
from tests.builders import request, tiny_model, tiny_tokenizer
from tests.teachers.faulty_server import FAULTS, Served, some_faults
from tests.teachers.test_hosted import hosted

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")

# Only what is written costs, and the server writes six words: a call takes $6 and at most $8.
PRICE = Price(0.0, 1.0)
MOST = 8


def paid(server: Served) -> float:
    """What the server would put on its bill."""
    return sum(6.0 for s in server.seen if s.fault is None and s.answered)


def asked(count: int):
    return [request(f"{n}", 1, max_tokens=MOST, seed=n) for n in range(count)]


@pytest.mark.parametrize("usd", [0.0, 7.9, 8.0, 13.9, 14.0, 100.0])
def test_256_calls_at_once_never_pass_the_sum(usd: float, tmp_path: Path) -> None:
    with Served(latency_s=0.05) as server:
        teacher = hosted(server, price=PRICE, concurrency=256)
        budget = BudgetedTeacher(teacher, usd, tmp_path / "ledger.jsonl", stop=False)
        answers = budget.continue_from(asked(300))
        answered = sum(a.problem is None for a in answers)
        assert {a.problem for a in answers} == {None, "budget"} - ({None} if usd < 8 else set())
        assert paid(server) == 6 * answered == budget.spent_usd <= usd
        assert usd - budget.spent_usd < MOST
        times = sorted([(s.came, MOST) for s in server.seen] + [(s.answered or 0.0, -MOST) for s in server.seen])
        assert max(itertools.accumulate((usd for _, usd in times), initial=0)) <= usd


def test_retries_and_refused_texts_are_paid_from_the_same_sum() -> None:
    kinds = tuple(kind for kind in FAULTS if kind not in ("hang", "429", "other model"))
    with Served(faults=some_faults(0.4, kinds=kinds)) as server:
        budget = BudgetedTeacher(hosted(server, price=PRICE), 300.0, stop=False)
        answers = budget.continue_from(asked(60))
        usage = sum((a.usage for a in answers), Usage())
        [spend] = budget.ledger
        assert paid(server) <= usage.cost_usd + spend.unsure_usd == pytest.approx(budget.spent_usd)
        assert budget.spent_usd <= 300
        assert spend.calls == usage.calls == len(server.seen)
        assert any(a.problem == "budget" for a in answers)


def test_a_call_that_nobody_answered_counts_as_spent() -> None:
    with Served(faults=lambda number, body: "hang") as server:
        teacher = hosted(server, price=PRICE, batch_deadline_s=0.3)
        budget = BudgetedTeacher(teacher, 20.0, stop=False)
        budget.continue_from(asked(5))
        [spend] = budget.ledger
        assert (spend.usd, spend.unsure_usd, len(server.seen)) == (2 * MOST, 2 * MOST, 2)


def test_a_call_that_was_never_sent_costs_nothing() -> None:
    with Served() as server:
        teacher = hosted(server, price=PRICE, batch_deadline_s=2, requests_per_minute=2)
        budget = BudgetedTeacher(teacher, 100.0, stop=False)
        answers = budget.continue_from(asked(5))
        assert sorted(str(a.problem) for a in answers) == ["None", *["deadline"] * 4]
        assert (budget.spent_usd, budget._ledger.reserved_usd, len(server.seen)) == (6.0, 0.0, 1)


@pytest.mark.parametrize("raw", [True, False])
def test_an_answer_without_a_count_is_charged_as_the_most_that_it_may_cost(raw: bool) -> None:
    handover = {"handover": "raw", "template": ChatTemplate(tiny_tokenizer())} if raw else {}
    with Served(counts=False) as server:
        budget = BudgetedTeacher(hosted(server, price=PRICE, **handover), 2 * MOST, stop=False)
        answers = budget.continue_from(asked(5))
        [spend] = budget.ledger
        assert [a.problem for a in answers].count("budget") == 3
        assert (spend.usd, spend.unsure_usd, spend.output_tokens, len(server.seen)) == (2 * MOST, 2 * MOST, 2 * MOST, 2)
        assert sum((a.usage for a in answers), Usage()).cost_usd == 2 * MOST


def test_a_used_up_budget_stops_the_run_after_what_is_in_flight_and_a_larger_one_pays_for_the_rest(
    tmp_path: Path,
) -> None:
    with Served() as server:

        def teacher(usd: float) -> BudgetedTeacher:
            cached = CachedTeacher(hosted(server, price=PRICE), tmp_path / "answers.sqlite")
            return BudgetedTeacher(cached, usd, tmp_path / "ledger.jsonl")

        heard: list[str | None] = []
        with pytest.raises(Refused, match=r"\$20.00 is used up \(\$18.00 spent\): 7 of 10"):
            teacher(20).continue_from(asked(10), lambda index, answer: heard.append(answer.problem))
        assert sorted(map(str, heard)) == ["None"] * 3 + ["budget"] * 7
        answers = teacher(100).continue_from(asked(10))
        assert all(a.problem is None for a in answers)
        assert len(server.seen) == 10
        [hosted_spend] = [s for s in teacher(100).ledger if s.usd]
        assert hosted_spend.usd == 60


def test_an_unknown_price_is_refused_unless_allowed() -> None:
    with Served() as server:
        with pytest.raises(Refused, match="the price of 'hosted_vllm/m' is not known here"):
            BudgetedTeacher(hosted(server), 5.0).continue_from(asked(3))
        assert server.seen == []
        allowed = BudgetedTeacher(hosted(server), 5.0, allow_unknown_price=True)
        assert all(a.problem is None for a in allowed.continue_from(asked(3)))


def test_the_ledger_says_by_model_what_was_read_written_and_remembered(tmp_path: Path) -> None:
    with Served() as server:
        cached = CachedTeacher(hosted(server, price=PRICE), tmp_path / "a.sqlite")
        budget = BudgetedTeacher(cached, 100.0, tmp_path / "ledger.jsonl")
        for _ in range(2):
            budget.continue_from(asked(2))
    by_model = {s.model: s for s in budget.ledger}
    bought, remembered = by_model["hosted_vllm/m"], by_model["served-1"]
    assert (bought.calls, bought.output_tokens, bought.usd) == (2, 12, 12.0)
    assert bought.input_tokens == sum(len(s.question) // 4 for s in server.seen)
    assert (remembered.remembered, remembered.usd) == (2, 0.0)
    assert Ledger(tmp_path / "ledger.jsonl").by_model() == budget.ledger


def test_a_teacher_that_runs_here_costs_nothing_and_is_counted() -> None:
    budget = BudgetedTeacher(LocalTeacher(tiny_model(), tiny_tokenizer(), name="tiny"), 0.0)
    [answer] = budget.continue_from([request("a", 3)])
    [spend] = budget.ledger
    assert (spend.model, spend.usd, spend.output_tokens) == ("tiny", 0.0, answer.usage.output_tokens)


KILLED = """
import os, sys
from omniopd.teachers.spending.ledger import Ledger
from omniopd.types import Usage
ledger = Ledger(sys.argv[1])
done = ledger.reserve("m", 2.0, 10.0)
ledger.reserve("m", 3.0, 10.0)
ledger.settle(done, Usage(10, 5, cost_usd=1.0, calls=1))
os._exit(9)
"""


def test_a_killed_process_has_spent_what_it_had_sent(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    assert subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False).returncode == 9
    with open(file, "a") as torn:
        torn.write('\n{"reserved": "x", "usd": 4')
    for _ in range(2):  # entering what was lost enters it once
        [spend] = (again := Ledger(file)).by_model()
        assert (spend.usd, spend.unsure_usd, spend.calls) == (4.0, 3.0, 2)
        assert again.reserve("m", 6.5, 10.0) is None
        del again
    assert all(json.loads(line) for line in file.read_text().splitlines() if line and '"x"' not in line)


def test_sums_are_exact() -> None:
    ledger = Ledger()
    for _ in range(10):
        number = ledger.reserve("m", 0.1, 1.0)
        assert number is not None
        ledger.settle(number, Usage(cost_usd=0.1))
    assert ledger.spent_usd == 1.0
    assert ledger.reserve("m", 1e-9, 1.0) is None


@pytest.mark.parametrize("usd", [-8000.0, math.nan, math.inf])
def test_a_cost_that_is_none_counts_as_all_that_was_set_aside(usd: float) -> None:
    ledger = Ledger()
    ledger.settle(ledger.reserve("m", 2.0, 10.0) or "", Usage(cost_usd=usd, calls=1))
    assert ledger.spent_usd == 2.0


def test_a_nonsensical_sum_is_refused() -> None:
    with pytest.raises(ConfigError, match="budget is -1"):
        BudgetedTeacher(LocalTeacher(tiny_model(), tiny_tokenizer()), -1)
