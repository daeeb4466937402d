"""The workbench as one view: one set of settings behind all of it, what a fork's update does in words, undo, cancel."""

from __future__ import annotations

import re
import threading

import pytest

from omniopd.pipeline.session import Session
from omniopd.sweeps.study import load_study
from omniopd.teachers.local import LocalTeacher
from omniopd_widgets import RolloutView, Workbench
from omniopd_widgets._parts.changes import Changes
from omniopd_widgets._parts.presets import presets
from tests.builders import tiny_model, tiny_tokenizer
from tests.small_runs import small_recipe
from tests.widgets.lab import ROOT
from tests.widgets.test_workbench import PROBLEMS, STUDENT, workbench


def test_the_last_change_is_taken_back_and_a_slider_is_one_change() -> None:
    changes = Changes({"alpha": 1.0, "beta": 0.1})
    for alpha in (1.25, 1.5, 1.75):
        changes.note({"alpha": alpha, "beta": 0.1})
    changes.note({"alpha": 1.75, "beta": 0.0})
    differences = [{"name": "alpha", "was": 1.0, "now": 1.75}, {"name": "beta", "was": 0.1, "now": 0.0}]
    assert changes.differences() == differences
    assert changes.undone() == {"alpha": 1.75, "beta": 0.1}
    assert changes.undone() == {"alpha": 1.0, "beta": 0.1}
    assert changes.differences() == []
    assert changes.undone() == {"alpha": 1.0, "beta": 0.1}


@pytest.fixture
def bench():
    made = workbench(LocalTeacher(tiny_model(1, context=512), tiny_tokenizer()))
    made.ask_all()
    made.wait()
    yield made
    made.close()


def test_a_setting_turned_in_any_view_is_turned_in_all_and_for_the_next_answer(bench: Workbench) -> None:
    bench.posterior.concentration = 1.75
    bench.wait()
    assert bench.settings["objective.concentration"] == 1.75
    assert (bench.ledger.concentration, bench.session.recipe.objective.concentration) == (1.75, 1.75)
    trust = {audit.start: audit.posterior_mean for audit in bench.rollout.record.audits}
    assert {row["start"]: row["posterior_mean"] for row in bench.posterior.results()} == pytest.approx(trust)
    assert bench.bar.changes == [{"name": "objective.concentration", "was": 1.0, "now": 1.75}]
    bench.ledger.target = "labels"
    bench.wait()
    assert (bench.settings["objective.target"], bench.stories[0]["push"]["labels"]) == ("labels", True)
    bench.panel.similarity = "exact"
    bench.wait()
    assert (bench.bar.settings["audit.similarity"], bench.posterior.similarity) == ("exact", "exact")
    bench.bar.seed = 3
    bench.answer()
    bench.ask_all()
    bench.wait()
    assert (bench.posterior.concentration, bench.ledger.target, bench.panel.similarity) == (1.75, "labels", "exact")
    bench.bar.press("reset")
    bench.wait()
    assert bench.bar.changes == []
    assert (bench.posterior.concentration, bench.ledger.target) == (1.0, "paper")


def test_what_is_refused_changes_neither_session_nor_bar_and_stays_said(bench: Workbench) -> None:
    bench.bar.settings = {**bench.bar.settings, "audit.chunk_tokens": 99}
    bench.bar.settings = {**bench.bar.settings, "audit.samples": 2}
    bench.wait()
    assert "audit.chunk_tokens is 99" in bench.bar.problem
    recipe = bench.session.recipe
    assert (bench.settings["audit.samples"], bench.settings["audit.chunk_tokens"]) == (
        recipe.audit.samples, recipe.audit.chunk_tokens,
    )  # fmt: skip


def test_some_settings_may_be_assigned_alone(bench: Workbench) -> None:
    bench.settings = {"objective.concentration": 2.0}
    bench.settings = {"audit.samples": 2}
    bench.wait()
    assert (bench.settings["objective.concentration"], bench.settings["audit.way"]) == (2.0, "chunks")
    assert bench.session.recipe.objective.concentration == 2.0
    assert [change["name"] for change in bench.bar.changes] == ["audit.samples", "objective.concentration"]


def test_what_is_turned_while_the_views_are_filled_is_taken(bench: Workbench) -> None:
    """The worker's thread shows; what the page sends meanwhile arrives in another one."""
    turned = threading.Event()
    show = bench.posterior.show

    def slowly(record, **more) -> None:
        threading.Thread(target=lambda: (bench.bar.press("undo"), turned.set())).start()
        assert turned.wait(10)
        show(record, **more)

    bench.posterior.concentration = 2.0
    bench.wait()
    bench.posterior.show = slowly
    bench.ledger.target = "labels"
    bench._worker._thread.submit(lambda: None).result(20)
    bench.posterior.show = show
    bench.wait()
    assert bench.settings["objective.target"] == bench.session.recipe.objective.target == "paper"
    assert bench.ledger.target == "paper"


def test_after_a_cancelled_change_bar_session_and_views_agree(bench: Workbench, monkeypatch) -> None:
    begun = threading.Event()
    change = bench.session.with_settings

    def slowly(**settings) -> None:
        change(**settings)
        begun.set()
        while True:
            threading.Event().wait(0.01)

    monkeypatch.setattr(bench.session, "with_settings", slowly)
    bench.ledger.target = "labels"
    assert begun.wait(20)
    bench.cancel()
    bench.wait(20)
    assert "cancelled" in bench.bar.problem
    targets = bench.session.recipe.objective.target, bench.settings["objective.target"], bench.ledger.target
    assert targets == ("labels",) * 3
    assert bench.stories[0]["push"]["labels"]


def test_undo_is_a_press(bench: Workbench) -> None:
    bench.posterior.concentration = 3.0
    bench.wait()
    bench.bar.press("undo")
    bench.wait()
    assert (bench.bar.changes, bench.ledger.concentration) == ([], 1.0)


def test_an_old_answer_under_a_new_problem_is_marked_until_the_new_one_is_answered(bench: Workbench) -> None:
    assert bench.stale == ""
    bench.bar.problem_index = 1
    assert "another problem" in bench.stale
    bench.bar.problem_index = 0
    assert bench.stale == ""
    bench.bar.seed = 9
    assert "another seed" in bench.stale
    bench.answer()
    bench.wait()
    assert bench.stale == ""


def test_the_whole_bench_is_one_view_whose_cards_follow_the_selection(mount, bench: Workbench) -> None:
    mounted = mount(bench)
    first, second = bench.stories[:2]
    mounted.find(".oopd-forks button").nth(0).click()
    mounted.settle()
    assert mounted.text(".oopd-fork-card h3").startswith("Fork 1 of ")
    assert mounted.text(".oopd-story-own").split("student")[1].strip() == first["chunk"].strip()
    bench.selected = second["start"]
    mounted.settle()
    assert mounted.text(".oopd-fork-card h3").startswith("Fork 2 of ")
    assert bench.posterior.selected == second["start"]
    mounted.find(".oopd-story-texts .oopd-story-text").first.click()
    mounted.settle()
    assert bench.continuation == second["texts"][0]["first"]
    for tab in ("Texts", "Trust", "Loss"):
        mounted.find(f"[role=tab]:has-text('{tab}')").click()
        mounted.settle()
        assert mounted.find(".oopd-bench-pane:not([hidden]) .oopd-view").count() == 1
    mounted.find("[role=tab]:has-text('At this fork')").click()
    mounted.settle()
    mounted.find(".oopd-effect-card input").fill("2.5")
    mounted.find(".oopd-effect-card input").press("Enter")
    mounted.settle()
    bench.wait()
    mounted.settle()
    assert bench.session.recipe.objective.concentration == 2.5
    assert "α 1 → 2.5" in mounted.text(".oopd-bench-changed")
    mounted.assert_quiet()


def test_another_view_on_the_page_does_not_change_how_the_bar_looks(mount, bench: Workbench) -> None:
    """Each view brings the shared style sheet again, behind those that are there."""
    mounted = mount(bench.bar)
    before = mounted.find(".oopd-bench-brief").is_visible(), mounted.root.bounding_box()["height"]
    mount(RolloutView(bench.rollout.record), on=mounted)
    assert (mounted.find(".oopd-bench-brief").is_visible(), mounted.root.bounding_box()["height"]) == before
    assert before[0] is False


def test_a_number_that_is_not_taken_says_why(mount, bench: Workbench) -> None:
    mounted = mount(bench.bar)
    samples = mounted.find("label:has-text('samples') input")
    samples.fill("0")
    samples.press("Enter")
    mounted.settle()
    assert "samples cannot be 0: a number from 1 to 128" in mounted.text(".oopd-bench-refused")
    assert samples.input_value() == "3"


def test_train_shows_the_launcher_with_what_differs(tmp_path) -> None:
    made = Workbench("embedded", runs=str(tmp_path), problems=3, teacher__model="embedded:teacher")
    made.posterior.concentration = 1.75
    made.wait()
    made.bar.press("use")
    assert made.tab == "runs"
    assert made.launcher.values["settings"] == ["objective.concentration=1.75"]
    assert (made.launcher.values["steps"], made.launcher.values["problems"]) == (40, 500)
    made.bar.press("undo")
    made.wait()
    made.bar.press("use")
    assert made.launcher.values["settings"] == []
    made.close()


def test_presets_are_the_studys_settings_with_the_results_that_the_page_tells(mount, bench: Workbench) -> None:
    study = load_study("embedded")
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    own, *named = presets(bench.settings)
    assert own["settings"] == bench.settings
    assert [preset["name"] for preset in named] == ["labels", "paper"]
    for preset in named:
        one = study.arms[preset["name"]]
        arm = study.recipe_of(one, 0, one.tuned, {}, ())
        for name in ("forks", "chunk_tokens", "samples", "similarity", "way"):
            assert preset["settings"][f"audit.{name}"] == getattr(arm.audit, name), (preset["name"], name)
        assert preset["settings"]["objective.target"] == arm.objective.target
        assert preset["settings"]["objective.anchor_weight"] == arm.objective.anchor_weight
        rows = re.findall(rf"^\| `{preset['name']}` \|.*$", page, re.M)
        reached = [row.split("|")[4].strip().replace(" [", "% [") for row in rows]
        assert any("[" in cell and cell in preset["about"] for cell in reached)
    mounted = mount(bench.bar)
    chosen = mounted.find("select[aria-label=preset]")
    chosen.select_option("paper")
    mounted.settle()
    assert bench.settings["audit.chunk_tokens"] == 6
    assert "not shown to learn" in mounted.text(".oopd-bench-line")


def test_an_exploration_is_shown_as_it_is() -> None:
    session = Session(small_recipe(), STUDENT, LocalTeacher(tiny_model(1, context=512), tiny_tokenizer()))
    made = Workbench(exploration=session, runs=None, problems=2)
    assert made.settings["audit.samples"] == session.recipe.audit.samples
    assert len(made.bar.problems) == len(PROBLEMS)
    made.close()
