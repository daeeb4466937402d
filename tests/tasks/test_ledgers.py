"""The world of ledgers: long answers whose every step hangs on the one before, and whose slips can be repaired."""

import random
import re

import pytest
from transformers import AutoTokenizer

from omniopd.config import Recipe, TaskConfig
from omniopd.embedded import STUDENT
from omniopd.errors import DataError
from omniopd.tasks.build import build_task
from omniopd.tasks.ledgers import (
    HANDS,
    STEPS,
    Ledgers,
    Try,
    at_once,
    ledger_of,
    make_ledger,
    taken_back,
    worked_answer,
)
from omniopd.tasks.stories import SPLITS, exact, grade, in_world, without_carry
from omniopd.types import Task


def slip_and_repair(total, move):
    """Forgets the carry, finds out, and is right at the second try; right at once where nothing carries."""
    slip = without_carry(total, move.sign, move.amount)
    if slip == exact(total, move.sign, move.amount):
        return at_once(total, move)
    back = taken_back(move)
    return (Try(slip, exact(slip, back.sign, back.amount)), *at_once(total, move))


def slip_and_sign(total, move):
    """Forgets the carry and signs the check unread."""
    return (Try(without_carry(total, move.sign, move.amount), total),)


def test_the_same_seed_opens_the_same_ledgers_and_a_longer_list_begins_with_the_shorter() -> None:
    task = Ledgers()
    assert task.prompts("test", 20, seed=3)[:5] == task.prompts("test", 5, seed=3)
    assert task.prompts("test", 20, seed=3) != task.prompts("test", 20, seed=4)


def test_no_ledger_belongs_to_two_splits_however_it_is_worded() -> None:
    seen = {split: set() for split in SPLITS}
    for split in SPLITS:
        for index in range(3000):
            ledger = make_ledger(split, index, seed=9, steps=(1,))
            seen[split].add((ledger.start, *ledger.moves))
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["dev"]
    assert not seen["dev"] & seen["test"]


def test_a_ledger_has_twelve_entries_and_more() -> None:
    lengths = {len(make_ledger("test", index).moves) for index in range(200)}
    assert lengths == set(STEPS)
    assert min(STEPS) >= 12


def test_every_question_shows_its_entries_in_order_and_says_which_way_each_goes() -> None:
    signs = {"finds": "+", "buys": "+", "gets": "+", "loses": "-", "sells": "-", "gives": "-"}
    for index in range(200):
        ledger = make_ledger("dev", index)
        shown = re.findall(r"^([a-z]): (\w+) (\d+)$", ledger.question, flags=re.MULTILINE)
        assert [entry for entry, _, _ in shown] == list("abcdefghijklmnopqrstuvwxyz"[: len(ledger.moves)])
        assert [(signs[verb], int(amount)) for _, verb, amount in shown] == [(m.sign, m.amount) for m in ledger.moves]
        assert str(ledger.start) in ledger.question.splitlines()[0]


def test_every_step_hangs_on_the_one_before_it() -> None:
    """A total that is off by one anywhere ends in a wrong answer: no later entry forgets it."""
    for index in range(50):
        ledger = make_ledger("dev", index)
        for wrong in range(len(ledger.moves)):
            counted = iter(range(len(ledger.moves)))

            def off_once(total, move, wrong=wrong, counted=counted):
                result = exact(total, move.sign, move.amount)
                return (Try(result + (next(counted) == wrong), total),)

            assert not grade(ledger.prompt(), worked_answer(ledger, random.Random(0), attempt=off_once))


def test_more_than_a_third_of_the_steps_carry_or_borrow_and_all_totals_have_two_digits() -> None:
    steps = carried = 0
    for index in range(500):
        ledger = make_ledger("train", index)
        totals = ledger.totals()
        assert all(map(in_world, totals))
        for move, before, after in zip(ledger.moves, totals, totals[1:], strict=False):
            steps += 1
            carried += without_carry(before, move.sign, move.amount) != after
    assert 0.32 < carried / steps < 0.42


@pytest.mark.parametrize("hand", HANDS)
def test_a_worked_answer_is_right_in_every_line_and_its_checks_lead_back(hand: str) -> None:
    said = re.compile(r"(\d+)(\+|-| plus | minus )(\d+)(?:=| is )(\d+)")
    for index in range(100):
        ledger = make_ledger("test", index)
        answer = worked_answer(ledger, random.Random(index), HANDS[hand])
        *lines, last = answer.split("\n")
        totals = [ledger.start]
        for line, move in zip(lines, ledger.moves, strict=True):
            (a, sign, b, result), (again, inverse, undone, back) = said.findall(line)
            assert (int(a), int(b), int(result)) == (totals[-1], move.amount, exact(int(a), move.sign, move.amount))
            assert (again, undone, back) == (result, b, a)
            assert {sign.strip()} | {inverse.strip()} in ({"+", "-"}, {"plus", "minus"})
            totals.append(int(result))
        assert last == f"#### {ledger.answer}"
        assert grade(ledger.prompt(), answer)


def test_a_slip_that_is_noticed_and_repaired_ends_in_the_right_answer() -> None:
    repaired = 0
    for index in range(100):
        ledger = make_ledger("test", index)
        answer = worked_answer(ledger, random.Random(index), attempt=slip_and_repair)
        repaired += "?" in answer
        assert grade(ledger.prompt(), answer)
    assert repaired > 95


def test_a_slip_that_is_signed_unread_spreads_and_mostly_ends_in_a_wrong_one() -> None:
    ledgers = [make_ledger("test", index) for index in range(200)]
    right = [grade(led.prompt(), worked_answer(led, random.Random(0), attempt=slip_and_sign)) for led in ledgers]
    assert sum(right) / len(right) < 0.2


def test_answers_have_two_hundred_to_four_hundred_tokens() -> None:
    tokenizer = AutoTokenizer.from_pretrained(STUDENT)
    for hand in HANDS.values():
        texts = [worked_answer(make_ledger("test", index), random.Random(index), hand) for index in range(200)]
        lengths = list(map(len, tokenizer(texts).input_ids))
        assert min(lengths) >= 200
        assert max(lengths) <= 400


def test_the_hands_word_every_line_differently() -> None:
    ledger = make_ledger("test", 0)
    plain, spoken = (worked_answer(ledger, random.Random(0), hand).split("\n") for hand in HANDS.values())
    assert not set(plain[:-1]) & set(spoken)
    assert plain[-1] == spoken[-1]


def test_a_prompts_id_is_enough_to_tell_its_ledger_and_a_recipe_can_name_the_task() -> None:
    task: Task = build_task(Recipe(name="long", task=TaskConfig(name="ledgers")))
    assert task.name == "ledgers"
    assert len(task.prompts("test")) == 500
    for prompt in Ledgers(steps=(3, 12)).prompts("dev", 20, seed=-1):
        assert ledger_of(prompt.id).prompt() == prompt
        assert task.grade(prompt, Ledgers().worked_answer(prompt))
        assert prompt.solution == Ledgers().worked_answer(prompt)  # what a privileged teacher may see


def test_what_is_not_in_the_world_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match="train, dev, test"):
        make_ledger("validation", 0)
    with pytest.raises(DataError, match="from 1 to 26"):
        make_ledger("train", 0, steps=(27,))
    with pytest.raises(DataError, match="ledgers/<split>"):
        ledger_of("stories/test/234/0/0")
