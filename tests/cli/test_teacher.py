"""`omniopd teacher check`, and the price that is said before a run."""

from __future__ import annotations

import re
import socket

import pytest

from omniopd.cli.main import main
from omniopd.config import load_recipe
from omniopd.costs.consent import price_first
from omniopd.errors import Refused
from omniopd.records import EvalRecord
from omniopd.reports.summary import ledger_line
from omniopd.teachers.spending.ledger import Ledger, Spend, spent
from omniopd.types import Usage
from tests.served import Server
from tests.small_runs import as_words, small_recipe

HOSTED = {"teacher__model": "anthropic/claude-haiku-4-5", "training__probe_prompts": 0}


def served(server: Server) -> list[str]:
    return [f"teacher.api_base={server.url}", "teacher.tokenizer=embedded:teacher", "teacher.concurrency=1"]


def test_a_real_server_is_checked_and_a_run_is_priced(served_teacher: Server, capsys) -> None:
    model = f"text-completion-openai/{served_teacher.model}"
    words = ["teacher", "check", model, *served(served_teacher), "--known", "stories", "--recipe", "embedded"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert re.search(r"answers as +teacher@main\n", said)
    assert re.search(r"handover raw +exact; (9|10|11|12) of 12 known beginnings go on", said)
    assert re.search(r"temperature 0 +repeats itself in 3 draws", said)
    assert re.search(r"latency +median \d", said)
    assert re.search(r"verdict +usable\n", said)
    assert re.search(r"A run of the recipe embedded takes [\d,]+ calls, .* \$0, .* of waiting", said)


def test_the_embedded_teacher_is_checked_as_it_runs_here(capsys) -> None:
    assert main(["teacher", "check", "embedded:teacher"]) == 0
    assert "none: it runs here" in capsys.readouterr().out


def test_a_teacher_that_cannot_be_reached_is_exit_code_1_and_a_mistake_2(capsys) -> None:
    nobody = ["teacher.api_base=http://127.0.0.1:9/v1", "teacher.tokenizer=embedded:teacher"]
    assert main(["teacher", "check", "text-completion-openai/teacher", *nobody]) == 1
    assert "not usable: the teacher does not answer: connection lost" in capsys.readouterr().out
    assert main(["teacher", "check", "no-such-provider/model"]) == 2
    assert "litellm knows no provider of it" in capsys.readouterr().err


def test_a_top_p_of_ones_own_is_no_mistake_at_the_temperatures_that_are_tried(capsys, monkeypatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert main(["teacher", "check", "anthropic/claude-haiku-4-5", "teacher.top_p=0.9"]) == 1
    assert "not usable: the teacher does not answer: unauthorised" in capsys.readouterr().out


def test_a_local_teacher_gets_no_word_about_money(capsys) -> None:
    recipe = small_recipe()
    capsys.readouterr()
    assert price_first(recipe) is None
    assert capsys.readouterr() == ("", "")


def test_a_run_that_costs_more_than_is_asked_above_is_refused_before_its_folder_is_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "no-key-at-all")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        words = as_words(**HOSTED, teacher__ask_above_usd=0.0001, teacher__api_base=address)
        assert main(["train", "labels", *words, "--runs", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert re.search(r"The teacher anthropic/claude-haiku-4-5 will take 48 calls, .*\$0\.00\d+", said)
        assert "start it with --yes, or raise teacher.ask_above_usd" in said
        assert main(["demo", *words, "--runs", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "allowed",
    [
        {"teacher__ask_above_usd": 1.0},
        {"teacher__ask_above_usd": 0.0, "teacher__budget_usd": 1.0},
        {"teacher__model": "hosted_vllm/mine", "teacher__ask_above_usd": 0.0},
        {"teacher__model": "openai/nobody-knows-it", "teacher__allow_unknown_price": True},
    ],
    ids=str,
)
def test_a_sum_that_was_allowed_needs_no_question(allowed, capsys) -> None:
    found = price_first(small_recipe(**HOSTED | allowed))
    assert found is not None
    assert f"will take {found}" in capsys.readouterr().err


def test_a_notebook_accepts_a_sum() -> None:
    recipe = small_recipe(**HOSTED, teacher__ask_above_usd=0.0)
    found = price_first(recipe, accept_usd=1.0)
    assert price_first(recipe, accept_usd=found.usd) == found
    with pytest.raises(Refused, match=r"set accept_usd to that sum"):
        price_first(recipe, accept_usd=found.usd / 2)
    assert price_first(recipe, yes=True) == found


def test_a_resumed_run_is_priced_for_the_steps_that_are_left() -> None:
    recipe = small_recipe(**HOSTED)
    assert price_first(recipe, steps_done=1).calls == 32
    assert price_first(recipe, steps_done=3) is None


def test_a_resumed_run_is_priced_for_the_controls_that_are_left() -> None:
    recipe = small_recipe(**HOSTED, evaluation__controls=["shuffled", "self_teacher"])
    measured = [EvalRecord("control: shuffled", "stories", "test", t, 1, 0, 8, ()) for t in (0.0, 1.0)]
    for done, evals, calls in ((0, (), 96), (1, (), 80), (3, (), 48), (3, measured[:1], 48), (2, measured, 16)):
        assert price_first(recipe, steps_done=done, evals=evals).calls == calls
    assert price_first(recipe, steps_done=3, evals=measured) is None


def test_few_problems_are_enough_for_a_price(tmp_path) -> None:
    rows = "".join(f'{{"prompt": "What is {n} + 1?", "answer": "{n + 1}"}}\n' for n in range(20))
    (tmp_path / "train.jsonl").write_text(rows)
    own = {"task__name": "jsonl", "task__path": str(tmp_path)}
    for prompts in (16, 0):
        assert price_first(small_recipe(**HOSTED, **own, task__prompts=prompts)).calls == 48


def test_the_paper_on_a_hosted_teacher_is_asked_about() -> None:
    recipe = load_recipe("paper", **{"teacher.model": "anthropic/claude-haiku-4-5", "student.model": "embedded:student",
                                     "task.name": "stories"})  # fmt: skip
    with pytest.raises(Refused, match=r"1,280,000 calls, .* \$3,\d\d\d\.\d\d"):
        price_first(recipe)


def test_the_ledger_of_a_run_is_told_by_model_and_reading_it_changes_nothing(tmp_path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    number = ledger.reserve("anthropic/claude-haiku-4-5", 0.01, 1.0)
    ledger.settle(number, Usage(1000, 50, 200, 0.00125, 1))
    ledger.reserve("anthropic/claude-haiku-4-5", 0.01, 1.0)
    before = (tmp_path / "ledger.jsonl").read_bytes()
    [spend] = spent(tmp_path / "ledger.jsonl")
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    assert ledger_line(spend) == (
        "Ledger of anthropic/claude-haiku-4-5: 2 calls, 1,000 tokens read (200 from the provider's cache), 50 written, "
        "$0.011 ($0.01 of it for calls that nobody answered or counted)."
    )
    assert "7 texts remembered" in ledger_line(Spend("m", remembered=7))
    assert spent(tmp_path / "none.jsonl") == ()
