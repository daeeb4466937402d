"""What counts as a response's final answer, and when two answers are the same."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from omniopd.tasks.grading import final_answer, grade

PAIRS = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "graded_pairs.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_there_are_100_pairs_and_both_labels_are_common():
    assert len(PAIRS) == 100
    assert 30 <= sum(not pair["right"] for pair in PAIRS) <= 70


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair['kind']}: {pair['response'][-30:]} / {pair['answer']}")
def test_grades_agree_with_labels_written_by_hand(pair):
    assert grade(pair["response"], pair["answer"]) is pair["right"]


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("The answer is 3.\n\\boxed{4}\n#### 5", "5"),
        ("The answer is 3, in a box \\boxed{4}. A: 9", "4"),
        ("First, the answer is 3. No, the answer is 4. I bought 9.", "4. I bought 9."),
        ("I count 3, then 7", "7"),
        ("#### 3\nWrong!\n#### 4\nThat is all: 5.", "4"),
        ("nested \\boxed{\\frac{1}{\\sqrt{2}}} done", "\\frac{1}{\\sqrt{2}}"),
        ("cut off \\boxed{12", ""),
        ("A: 18\nB: 19", "18"),
        ("**Answer:**\n\n$$\n5\n$$", "5"),
        ("so 10-3", "3"),
        ("so -$3.50", "-$3.50"),
        ("no number at all", ""),
    ],
)
def test_the_final_answer_is_the_first_of_mark_box_words_and_number(response, answer):
    assert final_answer(response) == answer


def test_a_worked_solution_is_right_by_its_own_answer():
    worked = "9 * 2 = <<9*2=18>>18\n#### 18"
    assert grade(worked, worked)
    assert not grade("#### 19", worked)


def test_percent_signs_count_only_against_an_answer_without_one():
    assert grade("\\boxed{25\\%}", "25")
    assert grade("\\boxed{25\\%}", "0.25")
    assert not grade("\\boxed{25\\%}", "2500\\%")


def test_small_answers_need_their_own_digits():
    assert grade("#### 0.0000001", "1e-7")
    assert not grade("#### 0.0000002", "1e-7")


def test_matrices_compare_entry_by_entry():
    gold = "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"
    assert grade("\\boxed{\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}}", gold)
    assert not grade("\\boxed{\\begin{pmatrix} 1 & 2 \\\\ 3 & 5 \\end{pmatrix}}", gold)


def test_grades_are_the_same_in_other_threads():
    sample = PAIRS[::5]
    with ThreadPoolExecutor(4) as pool:
        grades = list(pool.map(lambda pair: grade(pair["response"], pair["answer"]), sample))
    assert grades == [pair["right"] for pair in sample]


@pytest.mark.parametrize(
    "expression",
    [
        "9^9^9^9",
        "9**9**9**9",
        "10^{10^{10}}",
        "{9^{9*9*9*9*9*9*9}}",
        "((9^{99})^{9})^{9}",
        "((9!)!)!",
        "99999!",
        "\\binom{99999}{5000}",
        "\\sum_{n=1}^{99999999} n",
        "\\int_0^1 e^{x^2} dx",
        "\\exp(\\exp(\\exp(99)))",
        "(a+b+c+d+e+f)^{999}",
        "x^{30} + x + 1 = 0",
        "(" * 140 + "1" + ")" * 140,
        "1" * 5000,
        "__import__('os').system('false')",
    ],
)
def test_an_expression_made_to_take_long_is_wrong_at_once_without_an_alarm(expression):
    started = time.process_time()
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(grade, f"\\boxed{{{expression}}}", "x^2 + x = 5").result()
    assert time.process_time() - started < 5


PIECES = [
    "9", "$", "\\(", "\\[", "\\boxed{", "\\frac{1}", "the answer is ", "1,", "A:\n", "####", "answer ",
    " \n", "9 ", "9 9/",
]


@pytest.mark.parametrize("piece", PIECES)
def test_long_responses_are_searched_in_linear_time(piece):
    started = time.process_time()
    grade(piece * (100_000 // len(piece)), "5")
    grade("answer" + " " * 100_000 + piece, "5")
    assert time.process_time() - started < 5


def test_an_answer_may_be_explained_at_length_but_not_be_long():
    assert grade("A: 18, because " + "of what was said, " * 40 + "not 5", "18")
    assert not grade("A: " + "1, " * 200 + "1", "1")


BROKEN = ["x^{}", "{", "}", "$$", "\\frac{}{}", "^", "\\left(", "\\text{", "5%%", "\\begin{pmatrix}"]


@pytest.mark.parametrize("formula", BROKEN)
def test_a_broken_formula_is_wrong_and_no_error(formula):
    assert not grade(f"#### {formula}", "5 + x")
    assert not grade("#### 5 + x", formula)
