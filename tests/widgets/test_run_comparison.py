"""Runs compared in the browser of runs: one forest of intervals, curves, settings, two students on one prompt."""

from __future__ import annotations

import dataclasses
import shutil

from omniopd_widgets._parts import comparison as _comparison
from tests.small_runs import lab, settings
from tests.widgets import watched


def test_runs_are_compared_by_the_same_problems_with_intervals_and_a_verdict(folder, browse):
    view = browse(folder, chosen=["first", "as good", "better"])
    as_good, better = view.comparison["accuracies"]
    assert (as_good["run"], better["run"], better["against"]) == ("as good", "better", "first")
    said = {row["at"]: row["said"] for row in better["rows"]}
    assert list(said) == ["best temperature", "greedy", "temperature 0.5", "temperature 1"]
    assert said["temperature 1"].endswith(": better")
    for row in [*as_good["rows"], *better["rows"]]:
        assert row["low"] <= row["mean"] <= row["high"]
        # The sentence never says more than the interval.
        assert ("no difference shown" in row["said"]) == (row["low"] <= 0 <= row["high"])
    assert "no difference shown" in as_good["rows"][-1]["said"]


def test_what_differs_between_recipes_is_listed_and_what_is_the_same_is_not(folder, browse):
    view = browse(folder, chosen=["first", "as good", "better"])
    assert {d["key"]: d["values"] for d in view.comparison["differences"]} == {
        "seed": ["0", "1", "0"],
        "objective.target": ['"labels"', '"paper"', '"labels"'],
        "training.learning_rate": ["0.0004", "0.0004", "0.001"],
    }
    view.chosen = ["better", "first"]
    assert [d["key"] for d in view.comparison["differences"]] == ["training.learning_rate"]


def test_every_run_keeps_its_colour_in_every_chart(folder, browse):
    view = browse(folder, chosen=["early", "first", "better"])
    titles = [panel["title"] for panel in view.comparison["panels"]]
    assert titles[0] == "Loss"
    assert "Right answers after training, by temperature" in titles
    for panel in view.comparison["panels"]:
        assert all(curve["slot"] == ["early", "first", "better"].index(curve["name"]) for curve in panel["series"])
    assert "early has not been evaluated" in view.comparison["accuracies"][0]["problem"]


def test_of_evaluations_of_different_size_the_problems_that_both_answered_are_compared(browse, tmp_path):
    for name, problems in (("sixty", 60), ("thirty", 30)):
        run = watched.with_steps(watched.run_in(tmp_path, name), 1, 1)
        for record in watched.evals(problems=problems):
            run.append(record)
    view = browse(tmp_path, chosen=["sixty", "thirty"])
    rows = view.comparison["accuracies"][0]["rows"]
    # The draws are those of (seed, problem), so on the thirty both are one and the same.
    assert all(row["said"].endswith("on the 30 problems that both answered") for row in rows)
    assert all(row["ours"] == row["theirs"] and row["mean"] == 0 for row in rows[1:])


def test_evaluations_without_a_problem_in_common_are_not_compared(browse, tmp_path):
    for name in ("here", "there"):
        run = watched.with_steps(watched.run_in(tmp_path, name), 1, 1)
        for record in watched.evals():
            problems = tuple(dataclasses.replace(p, prompt_id=f"{name}/{p.prompt_id}") for p in record.problems)
            run.append(dataclasses.replace(record, problems=problems))
    rows = browse(tmp_path, chosen=["here", "there"]).comparison["accuracies"][0]["rows"]
    assert all("compare evaluations of the same problems" in row["said"] and row["low"] is None for row in rows)


def test_more_than_six_runs_are_too_many_to_tell_apart(tmp_path, browse):
    names = [f"run {n}" for n in range(8)]
    for name in names:
        watched.with_steps(watched.run_in(tmp_path, name), 1, 2, recorded=0)
    view = browse(tmp_path, chosen=names)
    assert view.comparison["names"] == names[: _comparison.MOST]
    assert "6 runs are compared at once" in view.comparison["problems"][0]


# ── in the browser ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_six_runs_are_one_forest_at_the_temperature_that_is_chosen(folder, browse, mount):
    page = mount(browse(folder, chosen=["first", "as good", "better", "early"]))
    page.frame()
    assert page.find(".oopd-forest").count() == 1
    rows = page.find(".oopd-forest tbody tr").all_inner_texts()
    assert [row.split("\t")[0].strip() for row in rows] == ["first", "as good", "better", "early"]
    assert "what the others are compared with" in rows[0]
    assert page.find(".oopd-forest .oopd-verdict").nth(1).get_attribute("data-shown") == "better"
    assert "early has not been evaluated" in rows[3]
    dot = page.find(".oopd-interval-mean >> nth=0").get_attribute("cx")
    page.find("select[name='at']").select_option("greedy")
    page.settle()
    page.frame()
    assert page.view.at == "greedy"
    assert page.find(".oopd-interval-mean >> nth=0").get_attribute("cx") != dot


def test_one_effect_beyond_the_axis_is_an_arrow_and_does_not_squeeze_the_others(folder, browse, mount, tmp_path):
    for name, rise in (("base", 0.4), ("near", 0.38), ("close", 0.36), ("far", -0.4)):
        run = watched.with_steps(watched.run_in(tmp_path, name), 1, 1)
        for record in watched.evals(rise):
            run.append(record)
    page = mount(browse(tmp_path, chosen=["base", "near", "close", "far"]))
    page.frame()
    assert page.find(".oopd-beyond").count() == 1
    assert page.find("tr:has(th :text-is('far')) .oopd-beyond").count() == 1
    page.assign(chosen=["base", "far"])
    page.frame()
    assert page.find(".oopd-beyond").count() == 0  # alone, it has the axis to itself


def test_one_run_gives_its_students_before_and_after_and_two_their_trained_ones(folder, browse, mount, tmp_path):
    for name in ("one", "two"):
        run = watched.with_steps(watched.run_in(tmp_path / "arm", name, state="finished", **settings()), 1, 2)
        for step in (1, 2):
            shutil.copytree(lab() / "teacher", run.checkpoints / f"step-{step:06d}")
        shutil.copytree(lab() / "teacher", run.student)
    page = mount(browse(tmp_path, chosen=["arm/one"]))
    page.frame()
    lists = page.find(".oopd-browser-pair select")
    assert lists.nth(0).locator("option").all_inner_texts() == [
        f"arm/one, {which}" for which in ("untrained", "step 1", "step 2", "trained")
    ]
    assert [lists.nth(at).input_value() for at in (0, 1)] == ["arm/one@0", "arm/one"]
    page.assign(chosen=["arm/one", "arm/two"])
    page.frame()
    assert [lists.nth(at).input_value() for at in (0, 1)] == ["arm/one", "arm/two"]
    lists.nth(0).select_option("arm/one@0")
    lists.nth(1).select_option("arm/two@1")
    page.click("button:text-is('On one prompt')")
    assert page.view.pair == ["arm/one@0", "arm/two@1"]
    pair = page.view.students.wait()
    assert (pair.left, pair.right, pair.problem) == ("arm/one@0", "arm/two@1", "")
    assert page.view.opened_views == (pair,)
    page.view.opened = "arm/one"
    assert page.view.opened_views == (pair, page.view.monitor)
    shutil.rmtree(tmp_path / "arm" / "two" / "checkpoints" / "step-000001")
    page.assign(pair=["arm/one", "arm/two@1"])
    assert "keeps no student that is step 1" in page.text(".oopd-problem")
    page.view.close()
