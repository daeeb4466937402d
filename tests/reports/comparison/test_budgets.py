"""Facts about budgets of student samples: what counts as measured there, who was untrained, what a control keeps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from omniopd.errors import DataError
from omniopd.reports.comparison import compare, share
from tests.reports.comparison.small import FINAL, ROLLOUTS, evaluated, finished

OURS, THEIRS = {"name": "ours"}, {"name": "theirs", "audit__forks": 3}


def test_a_budget_is_where_everything_was_measured_as_at_the_end(tmp_path: Path) -> None:
    run = finished(tmp_path, 9, at={1: 6})
    run.append(evaluated(3, temperature=1.0, step=1))  # at that temperature the end was not measured
    assert [one.budgets for one in compare([run]).arms[0].seeds] == [(FINAL,)]
    fewer = finished(tmp_path / "fewer", 9)
    fewer.append(evaluated(3, step=1, problems=4))
    [one] = compare([fewer]).arms[0].seeds
    assert one.budgets == (FINAL,)
    assert [(m.step, m.accuracy) for m in one.between] == [(1, 0.75)]
    whole = compare([finished(tmp_path / "whole", 9, at={1: 6})]).arms[0].seeds[0]
    assert whole.budgets == (ROLLOUTS, FINAL)
    assert [whole.at[b][0.0].accuracy for b in whole.budgets] == [0.6, 0.9]
    assert whole.between == ()


def test_accuracies_and_differences_at_each_budget_are_students_t_over_seeds(tmp_path: Path) -> None:
    early, late = ((5, 7, 4), (3, 4, 4)), ((9, 8, 10), (6, 8, 5))
    runs = [
        finished(tmp_path, late[arm][seed], seed, at={1: early[arm][seed]}, **settings)
        for arm, settings in enumerate((OURS, THEIRS))
        for seed in range(3)
    ]
    found = compare(runs)
    assert found.budgets == (ROLLOUTS, FINAL)
    for budget, (ours, theirs) in ((ROLLOUTS, early), (FINAL, late)):
        apart = np.array(ours) / 10 - np.array(theirs) / 10
        low, high = stats.t.interval(0.95, 2, apart.mean(), stats.sem(apart))
        difference = found.difference(found.arms[1], budget)
        assert difference is not None
        assert (difference.mean, difference.low, difference.high) == pytest.approx((apart.mean(), low, high))
        accuracy = found.accuracy(found.arms[0], budget)
        own = np.array(ours) / 10
        low, high = stats.t.interval(0.95, 2, own.mean(), stats.sem(own))
        assert accuracy is not None
        assert (accuracy.mean, accuracy.low, accuracy.high) == pytest.approx((own.mean(), low, min(1, high)))
    assert [s.partition(":")[0] for s in found.verdicts()] == [
        "ours beside theirs at 64 samples",
        "ours beside theirs at 128 samples",
    ]


def test_the_curve_has_a_row_an_arm_and_budget_from_the_untrained_student_on(tmp_path: Path) -> None:
    runs = [finished(tmp_path, 9, seed, before=2, at={1: 5}, **OURS) for seed in range(2)]
    curve = compare(runs).curve()
    assert list(curve.columns) == ["arm", "samples", "mean", "low", "high", "seeds"]
    assert curve[["samples", "mean", "seeds"]].to_numpy().tolist() == [[0, 0.2, 2], [64, 0.5, 2], [128, 0.9, 2]]


def test_seeds_and_budgets_that_only_one_arm_has_are_left_out_and_said(tmp_path: Path) -> None:
    runs = [finished(tmp_path, 9 - seed, seed, at={1: 5} if seed else {}, **OURS) for seed in range(3)]
    runs += [finished(tmp_path, 6, seed, at={1: 4}, **THEIRS) for seed in range(2)]
    found = compare(runs)
    arm = found.arms[1]
    assert found.shared_seeds(arm, FINAL) == [0, 1]
    assert found.shared_seeds(arm, ROLLOUTS) == [1]
    assert "ours was not measured at 64 student samples with seed 0" in found.problems
    assert "theirs lacks seed 2: differences use the seeds that both have" in found.problems
    assert [s.rpartition("(")[2] for s in found.verdicts()] == [
        "one seed: problems are the units)",
        "2 seeds are the units)",
    ]


def test_runs_with_no_budget_in_common_are_not_compared(tmp_path: Path) -> None:
    runs = [finished(tmp_path, 9, **OURS), finished(tmp_path, 9, training__rollouts=32, training__micro_batch=32)]
    found = compare(runs)
    assert found.difference(found.arms[1]) is None
    assert "measured after no equal number of student samples" in found.verdicts()[0]


def test_the_same_student_with_the_same_seed_was_the_same_before(tmp_path: Path) -> None:
    measured = [finished(tmp_path, 9, seed, before=2 + seed, **OURS) for seed in range(2)]
    bare = [finished(tmp_path, 8, seed, before=None, **THEIRS) for seed in range(3)]
    arm = compare([*measured, *bare]).arms[1]
    assert [one.before[0.0].accuracy if one.before else None for one in arm.seeds] == [0.2, 0.3, None]
    other = finished(tmp_path, 8, 0, before=None, name="other", student__model="another/student")
    assert not compare([*measured, other]).arms[1].seeds[0].before


def test_what_a_control_keeps_of_the_rise_is_said_at_each_budget(tmp_path: Path) -> None:
    runs = [finished(tmp_path, right, seed, at={1: 5}, **OURS) for seed, right in enumerate((9, 10, 8))]
    runs += [
        finished(tmp_path, right, seed, at={1: 2}, name="self", objective__control="self_teacher")
        for seed, right in enumerate((4, 5, 2))
    ]
    found = compare(runs)
    kept = found.share(found.arms[1])
    assert kept is not None
    assert (kept.value, kept.units) == (pytest.approx((0.2 + 0.3 + 0.0) / (0.7 + 0.8 + 0.6)), 3)
    at_64, at_128 = found.shares()
    assert at_64 == (
        "self (control: self_teacher): of the gain of ours at 64 samples remains: no share can be told (all 10 "
        "problems came out equal)"
    )
    assert str(kept) in at_128
    assert compare(runs, reference="self").shares() == []


def test_without_an_untrained_student_no_share_is_told(tmp_path: Path) -> None:
    runs = [finished(tmp_path, 9, before=None, **OURS)]
    runs += [finished(tmp_path, 3, before=None, name="self", objective__control="self_teacher")]
    assert compare(runs).shares() == []


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 12), st.floats(-0.5, 1.5), st.floats(0.02, 0.6), st.integers(0, 10_000))
def test_a_share_is_every_ratio_that_a_paired_t_test_does_not_refuse(
    units: int, ratio: float, spread: float, seed: int
) -> None:
    draws = np.random.default_rng(seed)
    whole = 0.5 + spread * draws.standard_normal(units)
    part = ratio * whole + spread * draws.standard_normal(units)
    found = share(part.tolist(), whole.tolist())
    slowly = stats.ttest_1samp(whole, 0).pvalue
    if slowly >= 0.05:
        assert (found.low, found.high) == (-math.inf, math.inf)
        assert "no share can be told" in str(found)
        return
    assert found.low <= found.value <= found.high
    for end in (found.low, found.high):
        assert stats.ttest_1samp(part - end * whole, 0).pvalue == pytest.approx(0.05, abs=1e-6)
    for inside in np.linspace(found.low, found.high, 7)[1:-1]:
        assert stats.ttest_1samp(part - inside * whole, 0).pvalue > 0.05


def test_a_share_needs_pairs() -> None:
    with pytest.raises(DataError, match="two or more pairs"):
        share([1.0], [1.0])
