"""Facts about comparing runs: seeds are units, nothing doubtful is averaged in, the verdict follows the interval."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from omniopd.errors import DataError
from omniopd.reports.comparison import compare, comparison_page, differences, markdown, paper_cost, shown_table
from tests.reports.comparison.small import evaluated, finished


def test_the_papers_formula_gives_the_papers_numbers() -> None:
    assert [round(paper_cost(m, 10, c), 2) for m, c in ((5, 50), (10, 50), (10, 100))] == [0.88, 1.75, 3.0]


def test_runs_that_differ_in_their_seed_are_one_arm_and_seeds_are_the_units(tmp_path: Path) -> None:
    runs = [finished(tmp_path, right, seed, name="ours") for seed, right in enumerate((9, 8, 10))]
    runs += [
        finished(tmp_path, right, seed, name="theirs", objective__control="constant")
        for seed, right in enumerate((3, 1, 5))
    ]
    found = compare(runs)
    assert [(arm.name, [s.seed for s in arm.seeds]) for arm in found.arms] == [
        ("ours", [0, 1, 2]),
        ("theirs", [0, 1, 2]),
    ]
    difference = found.difference(found.arms[1])
    assert difference is not None
    assert (difference.mean, difference.units) == (pytest.approx(0.6), 3)
    assert found.arms[1].settings == {"objective.control": "constant"}
    assert found.verdicts() == [
        "ours beside theirs at 128 samples: +60.0 points [+35.2, +84.8]: better (3 seeds are the units)"  # t(2) = 4.303
    ]


def test_seeds_are_paired_and_not_their_means(tmp_path: Path) -> None:
    # Seeds differ by more than the arms do: only the pairs show that one is always a little better.
    runs = [finished(tmp_path, right, seed, name="ours") for seed, right in enumerate((2, 5, 9, 6))]
    runs += [finished(tmp_path, right, 3 - i, name="theirs", audit__forks=3) for i, right in enumerate((5, 7, 4, 1))]
    found = compare(runs)
    assert [one.best.accuracy for one in found.arms[1].seeds] == [0.1, 0.4, 0.7, 0.5]
    assert found.verdicts()[0].endswith("better (4 seeds are the units)")


def test_an_interval_that_holds_0_shows_no_difference(tmp_path: Path) -> None:
    runs = [finished(tmp_path, right, seed, name="ours") for seed, right in enumerate((9, 4))]
    runs += [
        finished(tmp_path, right, seed, name="theirs", objective__depth=1, audit__forks=3)
        for seed, right in enumerate((5, 8))
    ]
    [sentence] = compare(runs).verdicts()
    assert "no difference shown" in sentence
    assert "not worse" not in sentence


def test_one_seed_is_compared_problem_by_problem(tmp_path: Path) -> None:
    found = compare([finished(tmp_path, 9, name="a"), finished(tmp_path, 3, name="b", audit__forks=3)])
    difference = found.difference(found.arms[1])
    assert difference is not None
    assert difference.units == 10
    assert "(one seed: problems are the units)" in found.verdicts()[0]


def test_any_arm_can_be_the_one_beside_which_the_others_stand(tmp_path: Path) -> None:
    runs = [finished(tmp_path, r, name=n, audit__forks=f) for n, r, f in (("a", 9, 4), ("b", 3, 3), ("c", 9, 2))]
    found = compare(runs, "c")
    assert [s.partition(":")[0] for s in found.verdicts("b")] == [
        "c beside b at 128 samples",
        "a beside b at 128 samples",
    ]
    assert all("+60.0 points" in sentence for sentence in found.verdicts("b"))
    with pytest.raises(DataError, match="no arm is called 'd': there are c, a, b"):
        found.verdicts("d")


def test_what_it_took_is_stated_per_run(tmp_path: Path) -> None:
    table = compare([finished(tmp_path, 9)]).table()
    row = table.iloc[0]
    assert (row["updates"], row["student tokens"], row["teacher read"], row["teacher written"], row["usd"]) == (
        2, 2 * 10 * 64, 200, 14, 1.0,
    )  # fmt: skip
    assert row["gain, points mean"] == pytest.approx(70)
    assert row["method"] == "text: labels, forks 16, samples 8, length 1"
    assert math.isclose(row["teacher cost, answers per rollout"], paper_cost(16, 8, 1))


def test_tables_hold_numbers_and_say_in_words_what_none_can(tmp_path: Path) -> None:
    runs = [finished(tmp_path, r, s, name="ours") for s, r in enumerate((9, 8, 10))]
    runs += [finished(tmp_path, r, s, name="theirs", audit__forks=3) for s, r in enumerate((3, 1, 5))]
    found = compare(runs)
    table = found.table()
    assert set(table.columns) - set(table.select_dtypes("number").columns) == {"method", "verdict"}
    ours = found.difference(found.arms[1])
    assert ours is not None
    row = table.loc["theirs"]
    assert [row[f"ours minus this {end}"] for end in ("mean", "low", "high")] == pytest.approx(
        [100 * ours.mean, 100 * ours.low, 100 * ours.high]
    )
    apart = differences(found)
    assert apart[["arm", "samples", "units", "unit", "verdict"]].to_numpy().tolist() == [
        ["theirs", 128, 3, "seed", "better"]
    ]
    assert apart.dtypes.to_dict() == differences(compare(runs[:3])).dtypes.to_dict()  # of one arm: no row
    shown = shown_table(found)
    assert shown.loc["theirs", "ours minus this"] == "60.0 [35.2, 84.8]"
    assert shown.loc["ours", "ours minus this"] == "–"


def test_one_problem_and_one_seed_are_compared_in_words(tmp_path: Path) -> None:
    runs = [
        finished(tmp_path, r, before=0, name=n, problems=1, audit__forks=f) for n, r, f in (("a", 1, 2), ("b", 0, 3))
    ]
    found = compare(runs)
    assert found.verdicts() == ["a beside b at 128 samples: +100.0 points: undetermined (one problem)"]
    text = markdown(found) + comparison_page(found, tmp_path / "r.html").read_text()
    assert not re.search(r"\bnan\b", re.sub(r"<[^>]*>", "", text))


def test_all_wrong_with_every_seed_shows_nothing(tmp_path: Path) -> None:
    runs = [finished(tmp_path, 0, s, name=n, before=0, audit__forks=f) for n, f in (("a", 2), ("b", 3)) for s in (0, 1)]
    [said] = compare(runs).verdicts()
    assert (
        said == "a beside b at 128 samples: +0.0 points [-30.8, +30.8]: undetermined (all 10 problems came out equal)"
    )


def test_doubtful_runs_are_named_and_left_out(tmp_path: Path) -> None:
    good = [finished(tmp_path, 9, seed, name="ours") for seed in (0, 1)]
    unfinished = finished(tmp_path, 1, 2, name="ours")
    unfinished.set_status(state="failed")
    damaged = finished(tmp_path, 1, 3, name="ours")
    (damaged.path / "evals.jsonl").write_text("{broken\n")
    torn = finished(tmp_path, 1, 5, name="ours")
    (torn.path / "steps.jsonl").write_text("{broken\n")
    foreign = finished(tmp_path, 1, 6, name="ours")
    (foreign.path / "manifest.json").write_text(json.dumps({"kind": "manifest", "name": 3}))
    elsewhere = finished(tmp_path, 1, 4, name="ours", problems=5)
    again = finished(tmp_path, 1, 1, name="ours")
    other = finished(tmp_path, 3, 0, name="other", audit__forks=3)
    found = compare([*good, unfinished, damaged, torn, foreign.path, elsewhere, again, other, tmp_path / "nowhere"])
    assert [s.run.path for s in found.arms[0].seeds] == [run.path for run in good]
    said = "\n".join(found.problems)
    for run, word in (
        (unfinished, "it is failed"),
        (damaged, "cannot be read"),
        (torn, "cannot be read"),
        (foreign, "cannot be read"),
        (elsewhere, "other problems"),
        (again, "same settings and seed"),
    ):
        assert any(str(run.path) in line and word in line for line in found.problems), (run, said)
    assert "nowhere is not a run" in said
    assert "other lacks seed 1" in said


def test_a_run_that_was_not_measured_at_its_end_is_left_out(tmp_path: Path) -> None:
    whole, short = finished(tmp_path, 9, 0), finished(tmp_path, 9, 1)
    (short.path / "evals.jsonl").write_text("")
    short.append(evaluated(9, step=1))
    found = compare([whole, short])
    assert [one.seed for one in found.arms[0].seeds] == [0]
    assert "its student was measured after 1 steps, and it was trained for 2" in found.problems[0]


def test_settings_that_share_a_name_are_kept_apart_and_said(tmp_path: Path) -> None:
    slow = [finished(tmp_path, 9, seed, name="ours", training__learning_rate=1e-4) for seed in (0, 1)]
    fast = [finished(tmp_path, 3, seed, name="ours", training__learning_rate=2e-4) for seed in (0, 1)]
    other = finished(tmp_path, 3, 0, name="other", audit__forks=3)
    found = compare([*slow, *fast, other])
    names = ["ours (learning_rate=0.0001)", "ours (learning_rate=0.0002)", "other"]
    assert [arm.name for arm in found.arms] == names
    assert [len(arm.seeds) for arm in found.arms] == [2, 2, 1]
    assert any(
        "2 different settings are called ours: they are kept apart by training.learning_rate" in line
        for line in found.problems
    )
    with pytest.raises(DataError, match=r"no arm is called 'ours': there are ours \(learning_rate=0.0001\), "):
        compare([*slow, *fast, other], reference="ours")


def test_the_same_settings_under_two_names_are_one_arm_and_said(tmp_path: Path) -> None:
    found = compare([finished(tmp_path, 9, 0, name="first"), finished(tmp_path, 8, 1, name="second")])
    assert [(arm.name, len(arm.seeds)) for arm in found.arms] == [("first", 2)]
    assert found.problems == ("first and second have the same settings: they are one arm, called first",)


def test_the_same_settings_and_seed_under_two_names_stay_two_arms(tmp_path: Path) -> None:
    runs = [finished(tmp_path, r, s, name=n) for n, r in (("first", 9), ("second", 3)) for s in (0, 1)]
    found = compare(runs)
    assert [(arm.name, [one.best.accuracy for one in arm.seeds]) for arm in found.arms] == [
        ("first", [0.9, 0.9]),
        ("second", [0.3, 0.3]),
    ]
    assert found.problems == (
        "first and second have the same settings and share seeds: they are kept apart by their names",
    )


def test_how_a_run_is_watched_and_measured_makes_no_arm(tmp_path: Path) -> None:
    runs = [finished(tmp_path, 9, 0), finished(tmp_path, 8, 1, evaluation__every=7, training__save_every=1)]
    assert len(compare(runs).arms) == 1


def test_nothing_to_compare_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is nothing to compare: .* is not a run"):
        compare([tmp_path])
