"""Intervals equal what enumeration and closed forms give; a difference is taken problem by problem."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.verdicts import studies
from omniopd.errors import DataError
from omniopd.evaluation.compare import (
    Interval,
    accuracy_interval,
    best_temperature,
    difference_interval,
    mean_interval,
    paired_difference,
    pooled_interval,
    seed_interval,
    shows,
    verdict,
)
from omniopd.records import EvalRecord, ProblemResult


def record(right: dict[str, int], samples: int = 1, temperature: float = 1.0, step: int = 0) -> EvalRecord:
    problems = tuple(ProblemResult(name, count, samples) for name, count in right.items())
    return EvalRecord("student", "stories", "test", temperature, samples, 0, 64, problems, step)


def test_the_bootstrap_equals_enumerating_every_resample():
    values = [0.0, 0.25, 0.25, 1.0, 0.5]
    every = np.sort([np.mean(draw) for draw in itertools.product(values, repeat=len(values))])
    ours = mean_interval(values, 0.9, "percentile", resamples=400_000)
    assert ours.mean == pytest.approx(0.4)
    # The means lie on a grid of 1/20, and quantiles of a grid are its points.
    assert ours.low == pytest.approx(np.quantile(every, 0.05), abs=1e-9)
    assert ours.high == pytest.approx(np.quantile(every, 0.95), abs=1e-9)


def test_bca_equals_scipy_s():
    values = np.random.default_rng(0).exponential(size=20) ** 2
    ours = mean_interval(values.tolist(), 0.95, "bca", resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1))
    percentile = mean_interval(values.tolist(), 0.95, "percentile", resamples=20_000)
    corrected = theirs.confidence_interval.high - percentile.high  # for the skew of these values
    assert corrected > 0.2 * percentile.high
    assert ours.high - percentile.high == pytest.approx(corrected, rel=0.35)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, rel=0.05)


def test_the_t_interval_is_the_textbook_s():
    values = [0.31, 0.35, 0.29, 0.40]
    ours = seed_interval(values)
    reach = 3.182446305284263 * np.std(values, ddof=1) / 2
    assert (ours.mean, ours.units) == (pytest.approx(0.3375), 4)
    assert ours.low == pytest.approx(0.3375 - reach)
    assert ours.high == pytest.approx(0.3375 + reach)


@pytest.mark.parametrize("method", ["bca", "percentile", "t"])
def test_95_of_100_intervals_hold_the_truth(method):
    rng = np.random.default_rng(3)
    held = 0
    for trial in range(400):
        interval = mean_interval((rng.random(200) < 0.7).astype(float).tolist(), 0.95, method, 1000, seed=trial)
        held += interval.low <= 0.7 <= interval.high
    assert 0.92 <= held / 400 <= 0.98


def test_the_same_seed_gives_the_same_interval():
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)


def test_all_right_and_all_wrong_keep_their_doubt():
    right = accuracy_interval(record({f"p{i}": 1 for i in range(100)}))
    exact = stats.binomtest(100, 100).proportion_ci(0.95)
    assert (right.low, right.high) == (pytest.approx(exact.low), 1.0)
    wrong = accuracy_interval(record({f"p{i}": 0 for i in range(100)}))
    assert (wrong.low, wrong.high) == (0.0, pytest.approx(1 - exact.low))


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(0)
    ease = {f"p{i}": int(16 * rng.random()) for i in range(200)}
    before = record(ease, 16)
    after = record({name: right + (1 if i % 4 else 0) for i, (name, right) in enumerate(ease.items())}, 16)
    difference = paired_difference(after, before)
    assert difference.mean == pytest.approx(after.accuracy - before.accuracy)
    assert difference.low > 0
    assert difference.high - difference.low < 0.1 * (accuracy_interval(after).high - accuracy_interval(after).low)


def test_the_order_of_problems_does_not_matter():
    after = {f"p{i}": i % 2 for i in range(40)}
    before = {f"p{i}": i % 2 for i in reversed(range(40))}
    same = paired_difference(record(after), record(before))
    assert same.mean == 0
    assert same == paired_difference(record(after), record(after))


@pytest.mark.parametrize(("ours", "theirs"), [("abcx", "abc"), ("abc", "abcx"), ("abx", "aby")])
def test_different_problems_are_an_error_that_names_the_first(ours, theirs):
    with pytest.raises(DataError, match="problem 'x'"):
        paired_difference(record(dict.fromkeys(ours, 1)), record(dict.fromkeys(theirs, 1)))


def test_too_few_values_are_an_error():
    with pytest.raises(DataError, match="two or more"):
        seed_interval([0.5])
    with pytest.raises(DataError, match="two or more"):
        mean_interval([0.5, math.nan])
    with pytest.raises(DataError, match="must be one of"):
        mean_interval([0.5, 0.6], method="normal")
    with pytest.raises(DataError, match="between 0 and 1"):
        mean_interval([0.5, 0.6], mass=95)


def test_the_best_temperature_is_that_of_the_highest_accuracy():
    records = [record({"a": a, "b": b}, 4, t) for t, a, b in ((1.0, 1, 0), (0.3, 3, 1), (0.0, 4, 0), (0.5, 2, 1))]
    assert best_temperature(records).temperature == 0.0  # of a tie, the lowest
    with pytest.raises(DataError, match="no evaluations"):
        best_temperature([])


@pytest.mark.parametrize(
    ("low", "high", "says", "says_not"),
    [
        (0.01, 0.05, "better", "worse"),
        (-0.01, 0.05, "no difference shown; not worse", "better"),
        (-0.03, 0.05, "no difference shown", "not worse"),
        (-0.2, -0.1, "worse", "not worse"),
        (-0.02, -0.01, "worse, by less than 3 points", "not worse"),
    ],
)
def test_the_verdict_says_what_an_interval_shows_and_no_more(low, high, says, says_not):
    sentence = verdict(Interval((low + high) / 2, low, high, 0.95, 100))
    assert says in sentence
    assert says_not not in sentence


def test_answers_that_never_differ_leave_the_doubt_that_so_few_problems_leave():
    few, many = ({f"p{i}": i % 2 for i in range(count)} for count in (8, 500))
    little, much = paired_difference(record(few), record(few)), paired_difference(record(many), record(many))
    assert little.mean == much.mean == 0
    assert little.high == -little.low == pytest.approx(stats.beta.ppf(0.975, 1, 8))  # Clopper and Pearson, 0 of 8
    assert verdict(little).endswith("undetermined (all 8 problems came out equal)")
    assert "not worse" not in verdict(much)


def test_answers_that_all_rise_may_have_been_lucky_in_each_of_few_problems():
    rises = difference_interval([1.0] * 8)
    other = stats.beta.ppf(0.975, 1, 8)  # so many problems more may fall as far as one can fall, by 1
    assert (rises.low, rises.high) == (pytest.approx(1 - 2 * other), 1.0)
    assert not verdict(rises).endswith("better")


SHARES = st.integers(0, 4).map(lambda right: right / 4)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 5), st.integers(1, 12).flatmap(lambda n: st.lists(SHARES, min_size=n, max_size=n)), SHARES)
def test_no_interval_and_no_verdict_comes_of_no_spread(seeds: int, ours: list[float], theirs: float):
    """Seeds that differ by the same, down to rounding: 0.9 - 0.3 and 0.8 - 0.2 are not the same number."""
    moved = [0.1 * seed for seed in range(seeds)]
    values = np.array([[(share + m) - (theirs + m) for share in ours] for m in moved])
    found, said = pooled_interval(values), verdict(pooled_interval(values))
    assert found.mean == pytest.approx(values.mean())
    assert math.isnan(found.low) or found.low < found.high
    if len(ours) == 1 or len(set(ours)) == 1:
        assert "undetermined" in said
    else:
        assert (found.unit, found.units) == ("problem", len(ours))
        alone = difference_interval(values.mean(axis=0).tolist())
        assert (found.low, found.high) == (alone.low, alone.high)
    assert "nan" not in said + str(found)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros((2, 40)), "+0.0 points [-8.8, +8.8]: undetermined (all 40 problems came out equal)"),
        (np.ones((3, 1)), "+100.0 points: undetermined (all 3 seeds came out equal)"),
        (np.array([[0.5]]), "+50.0 points: undetermined (one problem)"),
        (np.array([[0.5], [0.25]]), "+37.5 points [-100.0, +100.0]: no difference shown"),
    ],
)
def test_what_cannot_be_told_is_said_in_words(values, says):
    assert verdict(pooled_interval(values)) == says


def test_an_accuracy_of_one_problem_or_of_equal_seeds_has_no_made_up_ends():
    assert str(accuracy_interval(record({"a": 1}))) == "100.0 [no interval: one problem]"
    assert str(seed_interval([0.6, 0.8 - 0.2])) == "60.0 [no interval: all 2 seeds came out equal]"
    assert shows(seed_interval([0.6, 0.6])) == "undetermined (all 2 seeds came out equal)"


@pytest.mark.parametrize(
    ("seeds", "problems", "answers", "floor"), [(1, 5, 4, False), (1, 40, 1, True), (2, 10, 1, False), (3, 10, 1, True)]
)
def test_of_100_studies_in_which_nothing_differs_five_at_most_find_a_difference(seeds, problems, answers, floor):
    """With 600 studies 5% becomes at most 7.4% in 99 of 100 tests. A bootstrap alone finds a difference in 12% of the
    first; Student's t over seeds alone in 10% of the third, and "not worse" in the 40% of the last that come out equal.
    """
    held, better, worse, _ = studies(seeds, problems, answers, 0.0, 0.0, floor, 600)
    assert better + worse <= 0.074
    assert held >= 0.926
