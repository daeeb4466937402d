"""pass@k is what drawing k of the n answers would give on average."""

from __future__ import annotations

import itertools
import math

import pytest

from omniopd.errors import DataError
from omniopd.evaluation.pass_at_k import mean_pass_at_k, pass_at_k
from omniopd.records import EvalRecord, ProblemResult


def by_enumeration(right: int, samples: int, k: int) -> float:
    answers = [True] * right + [False] * (samples - right)
    draws = list(itertools.combinations(answers, k))
    return sum(any(draw) for draw in draws) / len(draws)


@pytest.mark.parametrize("samples", range(1, 9))
def test_equals_drawing_without_replacement(samples):
    for right in range(samples + 1):
        for k in range(1, samples + 1):
            assert pass_at_k(right, samples, k) == pytest.approx(by_enumeration(right, samples, k), abs=1e-14)


def test_equals_the_binomials_of_the_paper_where_those_are_large():
    for right, samples, k in ((3, 1000, 100), (500, 1000, 1), (17, 256, 16)):
        exact = 1 - math.comb(samples - right, k) / math.comb(samples, k)
        assert pass_at_k(right, samples, k) == pytest.approx(exact, rel=1e-12)


def test_pass_at_1_is_the_share_of_right_answers_and_pass_at_n_whether_any_is():
    assert pass_at_k(5, 16, 1) == pytest.approx(5 / 16)
    assert pass_at_k(0, 16, 16) == 0
    assert pass_at_k(1, 16, 16) == 1


@pytest.mark.parametrize(("right", "samples", "k"), [(0, 4, 5), (5, 4, 1), (-1, 4, 1), (1, 4, 0)])
def test_impossible_counts_are_errors(right, samples, k):
    with pytest.raises(DataError, match="does not exist"):
        pass_at_k(right, samples, k)


def test_a_record_s_pass_at_k_is_the_mean_over_its_problems():
    problems = (ProblemResult("a", 1, 4), ProblemResult("b", 0, 4), ProblemResult("c", 4, 4))
    record = EvalRecord("student", "stories", "test", 1.0, 4, 0, 64, problems)
    assert mean_pass_at_k(record, 2) == pytest.approx((0.5 + 0 + 1) / 3)
    assert mean_pass_at_k(record, 1) == pytest.approx(record.accuracy)
    assert math.isnan(mean_pass_at_k(EvalRecord("student", "stories", "test", 1.0, 4, 0, 64, ()), 2))
