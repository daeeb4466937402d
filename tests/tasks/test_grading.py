"""What counts as a response's final answer, and when two answers are the same."""

from __future__ import annotations

import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

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
    "9",
    "$",
    "\\(",
    "\\[",
    "\\boxed{",
    "\\frac{1}",
    "the answer is ",
    "1,",
    "A:\n",
    "####",
    "answer ",
    " \n",
    "9 ",
    "9 9/",
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


# ── the same answer, written differently ─────────────────────────────────────────────────────────────────────────────

# Each line one answer: all of a line are right for each other, and wrong for every other line.
ALIKE = [
    [r"\emptyset", r"\varnothing", "∅", r"\{\}"],
    [r"x \ge 3", "x ≥ 3", r"[3,\infty)", "[3, ∞)", "3 ≤ x"],
    ["x > 3", r"(3, \infty)", "3 < x"],
    [r"3 \le x < 5", "[3, 5)"],
    [r"(-\infty, 3)", "x < 3"],
    [r"\frac{1}{3}", r"0.\overline{3}", "0.333333", "0.3333334", "1/3"],
    [r"\frac{1}{6}", r"0.1\overline{6}", "0.1666667"],
    [r"\frac{1}{7}", r"0.\overline{142857}", "0.142857"],
    [r"\frac{2}{3}", "0.666667", r".\bar{6}"],
    [r"\frac{1}{30}", "0.0333333"],
    ["1", "0.999999999", "1.0", "1.0000004", r"0.\overline{9}", "4 - 3 = 1"],
    ["3", "3.0000000001", "3.0", "x = 3"],
    [r"\frac{10}{3}", "3.333333"],
    ["Yes", r"\text{Yes}", "**yes**", "yes."],
    ["No", "no"],
    ["B", "(B)", r"\text{(B)}"],
    ["C", "(C)"],
    ["2e-7", "0.0000002"],
    ["3e-7", "0.0000003"],
    ["0", "0.0"],
    [r"\sqrt{2}", "√2", "1.414214"],
    [r"\frac{\sqrt{2}}{2}", r"\sqrt{0.5}", "0.707107", r"\frac{1}{\sqrt{2}}"],
    ["(0.5, 3)", r"(\frac{1}{2}, 3.0)"],
    [r"\{7.0, 8\}", r"\{8, 7.0000000001\}"],
    [r"\begin{pmatrix}1.0\\2\end{pmatrix}", r"\begin{pmatrix}1\\2.0000000001\end{pmatrix}"],
    ["2x + z = 1"],
    [r"\infty", "∞"],
    ["1234.5678901", "1234.56789"],
]
ONE_ANSWER = [(text, line) for line, texts in enumerate(ALIKE) for text in texts]


def boxed(text: str) -> str:
    return rf"\boxed{{{text}}}"


@pytest.mark.parametrize("line", range(len(ALIKE)), ids=lambda line: ALIKE[line][0])
def test_an_answer_equals_all_its_spellings_and_no_other_answer_whichever_is_the_gold_one(line):
    for ours, theirs in itertools.permutations(ALIKE[line], 2):
        assert grade(boxed(ours), theirs), (ours, theirs)
    first = ALIKE[line][0]
    for theirs, other in ONE_ANSWER:
        assert grade(boxed(first), theirs) is grade(boxed(theirs), first) is (line == other), (first, theirs)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair['kind']}: {pair['response'][-30:]} / {pair['answer']}")
def test_a_grade_is_the_same_with_the_response_as_the_gold_answer(pair):
    given = final_answer(pair["response"])
    assert grade(boxed(pair["answer"]), given) == grade(boxed(given), pair["answer"])


@pytest.mark.parametrize(
    ("response", "answer", "right"),
    [
        ("The answer is (B) 42.", "B", True),
        ("The answer is (B) 42.", "42", True),
        ("The answer is (B) 42.", "(B) 42", True),
        ("The answer is (B) 42.", "C", False),
        ("The answer is (B) 42.", "(C) 42", False),
        ("The answer is B.", "(B) 42", True),
        ("I weigh them all.\n(B) 42", "B", True),
        (r"\boxed{\textbf{(B) } 42}", "B", True),
        (r"\boxed{\textbf{(B)}\ 42}", "B", True),
        (r"\boxed{\text{(B)}~42}", "42", True),
        ("B) 42", "B", True),
        (r"\boxed{(a) 5, (b) 6}", "(a) 5, (b) 7", False),
        ("A. 2 days\nB. 4 x 5 = 20 hours", "20", True),
        ("F. 10 of the 12 remain, so 2 are gone.", "2", True),
        ("B. 9*2 = 18", "18", True),
        ("I weigh them all.\nB. 42 apples", "B", True),
        ("Yes", "Yes", True),
        ("**Yes.**", "yes", True),
        ("Yes", "No", False),
        ("Yes and no", "Yes", False),
    ],
)
def test_a_choice_is_its_letter_or_what_it_says_and_one_word_is_an_answer(response, answer, right):
    assert grade(response, answer) is right


@pytest.mark.parametrize(("one", "other"), [(".5", "5"), ("$.75", "75"), (".999999", "999999")])
def test_a_decimal_point_in_front_counts(one, other):
    assert not grade(f"#### {one}", other)
    assert not grade(f"#### {other}", one)
    assert grade(f"#### {one}", one)


def test_large_numbers_are_compared_with_all_their_digits():
    assert grade(boxed("9^{900} + 0.5"), "9^{900} + 0.5")
    assert not grade(boxed("9^{900} + 0.5"), "9^{901} + 0.5")
    assert not grade(boxed("123456789012345.5"), "123456789012345.6")


def rounded(value: Fraction, decimals: int) -> int:
    """To `decimals` decimals, halves away from 0, in units of the last one."""
    scaled = abs(value) * Fraction(10) ** decimals
    return (1 if value > 0 else -1) * int(scaled + Fraction(1, 2))


def agree_by_the_rule(a: Fraction, b: Fraction) -> bool:
    """To 6 decimals; where both are smaller than 1, to 6 digits of the larger: 0.0123456 has 7 decimals of them."""
    larger = max(abs(a), abs(b))
    if larger == 0:
        return True
    decimals = 6
    while larger < 1 and larger * 10 ** (decimals - 5) < 1:
        decimals += 1
    return rounded(a, decimals) == rounded(b, decimals)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 9_999_999), st.integers(-9, 0), st.integers(-12, 12), st.integers(-9, 0), st.booleans())
def test_decimals_agree_as_the_rule_by_hand_says_either_way_round(digits, exponent, more, smaller, negative):
    a = Fraction(digits) * Fraction(10) ** exponent * (-1 if negative else 1)
    b = a + Fraction(more) * Fraction(10) ** smaller
    texts = [f"{Decimal(v.numerator) / Decimal(v.denominator):f}" for v in (a, b)]
    texts = [text if "." in text else f"{text}.0" for text in texts]
    assume(all(Fraction(text) == value for text, value in zip(texts, (a, b), strict=True)))
    wanted = agree_by_the_rule(a, b)
    assert grade(boxed(texts[0]), texts[1]) is wanted
    assert grade(boxed(texts[1]), texts[0]) is wanted


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400))
def test_a_fraction_equals_its_decimals_and_exact_numbers_only_themselves(top, bottom):
    decimal = f"{Decimal(top) / Decimal(bottom):.12f}"
    assert grade(boxed(rf"\frac{{{top}}}{{{bottom}}}"), decimal)
    assert grade(boxed(decimal), rf"\frac{{{top}}}{{{bottom}}}")
    assert not grade(boxed(rf"\frac{{{top * 10**8 + 1}}}{{{bottom * 10**8}}}"), rf"\frac{{{top}}}{{{bottom}}}")
