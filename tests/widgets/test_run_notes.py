"""The browser of runs: what people say of a run is written beside it, and seeds of an arm fold into one row."""

from __future__ import annotations

import dataclasses
import json

import pytest

import omniopd
from omniopd.config.arms import arm_mark
from omniopd.runs.notes import annotate, notes_of
from omniopd.runs.store import MANIFEST
from omniopd_widgets._parts.safe import to_json
from tests.widgets import watched
from tests.widgets.hostile import hostile_strings


@pytest.fixture
def two(tmp_path):
    for name in ("one", "two"):
        watched.with_steps(watched.run_in(tmp_path, name, state="finished"), 1, 1, recorded=0)
    return tmp_path


def row(page, name):
    return page.find(f"tr:has(.oopd-column-id .oopd-text:text-is('{name}'))")


def test_tags_and_a_note_are_written_beside_the_run_and_searched(two, browse, mount):
    page = mount(browse(two))
    row(page, "one").locator("button:text-is('✎')").click()
    page.settle()
    tags, note = page.find("input[aria-label^='tags']"), page.find("input[aria-label='a note']")
    assert tags.evaluate("e => e === document.activeElement")
    tags.fill("good, paper")
    note.fill("see <b>table 2</b>")
    note.press("Enter")
    page.settle()
    said = notes_of(two / "one")
    assert (said.tags, said.note) == (("good", "paper"), "see <b>table 2</b>")
    assert row(page, "one").locator(".oopd-tag").all_inner_texts() == ["good", "paper"]
    row(page, "one").locator(".oopd-tag:has-text('paper')").click()
    page.settle()
    assert page.view.query == "tags:paper"
    assert page.find("tbody .oopd-column-id .oopd-text").first.inner_text() == "one"
    assert page.find(".oopd-grid-table tbody tr").count() == 1
    page.assign(query="table")
    assert page.find(".oopd-grid-table tbody tr").count() == 1  # words of a note, too
    page.click("button:text-is('done')")
    assert page.view.edited == ""


def test_a_run_is_given_a_title_hidden_and_listed_again(two, browse, mount):
    page = mount(browse(two))
    row(page, "one").locator("button:text-is('✎')").click()
    page.settle()
    title = page.find("input[aria-label='a title']")
    title.fill("the <i>first</i> one")
    title.press("Enter")
    page.settle()
    assert notes_of(two / "one").title == "the <i>first</i> one"
    named = row(page, "the <i>first</i> one")
    assert named.locator(".oopd-column-id .oopd-quiet").inner_text() == "one"
    page.assign(query="first")
    assert page.find(".oopd-grid-table tbody tr").count() == 1
    page.assign(query="")
    page.click(".oopd-notes button:text-is('hide')")
    assert notes_of(two / "one").tags == ("hidden",)
    assert page.find(".oopd-column-id > .oopd-text").all_inner_texts() == ["two"]
    assert "1 hidden (tags:hidden)" in page.root.inner_text()
    page.assign(query="tags:hidden")
    assert page.find(".oopd-column-id > .oopd-text").all_inner_texts() == ["the <i>first</i> one"]
    page.click(".oopd-notes button:text-is('list again')")
    page.assign(query="")
    assert page.find(".oopd-grid-table tbody tr").count() == 2
    assert notes_of(two / "one").tags == ()


def test_what_somebody_else_has_said_meanwhile_stays(two, browse):
    view = browse(two, live=False)
    annotate(two / "one", ["theirs"], note="their note")
    view.annotated = {"run": "one", "tags": "ours", "note": ""}  # the page knew of neither
    assert (notes_of(two / "one").tags, notes_of(two / "one").note) == (("theirs", "ours"), "their note")
    view._poll()
    view.annotated = {"run": "one", "tags": "ours", "note": "their note"}
    assert notes_of(two / "one").tags == ("ours",)
    view.annotated = {"run": "gone", "tags": "x", "note": ""}
    assert "there is no run 'gone'" in view.problem
    view.annotated = {"run": "one", "tags": "x" * 50, "note": "their note"}
    assert "is no tag" in view.problem
    assert {r["id"]: r["tags"] for r in view.rows} == {"one": "ours", "two": ""}


def test_what_the_table_learns_while_one_types_is_not_taken_back(two, browse, mount):
    annotate(two / "one", ["mine"])
    view = browse(two, live=False)
    annotate(two / "one", ["theirs"], note="their note")
    view._poll()
    before = {"tags": "mine", "note": ""}
    view.annotated = {"run": "one", "tags": "mine new", "note": "", "before": before}
    assert notes_of(two / "one").tags == ("mine", "theirs", "new")
    assert notes_of(two / "one").note == "their note"

    page = mount(browse(two, live=False, edited="two"))
    tags = page.find("input[aria-label^='tags']")
    tags.focus()
    tags.fill("ours")
    annotate(two / "two", ["theirs"])
    page.view._poll()
    page.settle()
    tags.press("Enter")
    page.settle()
    assert notes_of(two / "two").tags == ("theirs", "ours")
    tags.fill("other")
    tags.press("Enter")
    page.settle()
    assert notes_of(two / "two").tags == ("theirs", "other")
    tags.fill(f"good {'x' * 50}")  # which is no tag: nothing is written
    tags.press("Enter")
    page.settle()
    assert "is no tag" in page.view.problem
    tags.fill("good")
    tags.press("Enter")
    page.settle()
    assert notes_of(two / "two").tags == ("theirs", "good")


def test_a_note_of_another_process_appears_while_the_view_is_open(two, browse):
    view = browse(two, interval_s=0.0)
    annotate(two / "two", ["new"])
    watched.until(view, "rows", lambda: {r["id"]: r["tags"] for r in view.rows}["two"] == "new")


def test_hostile_tags_and_notes_are_shown_and_never_obeyed(two, browse, mount, inert):
    texts = [to_json(text) for text in hostile_strings()]
    words = [text for text in texts if text == "".join(text.split()) and "," not in text and 0 < len(text) <= 40][:15]
    annotate(two / "one", words, note="\n".join(texts)[:2000])
    page = mount(browse(two, edited="one", columns=["tags", "note"]))
    assert len(page.contents(".oopd-tag")) == len(words)
    assert page.contents(".oopd-tag") == words
    inert(page.view)
    page.assert_quiet()


def test_runs_that_differ_in_their_seed_are_one_row_with_their_mean_and_their_ends(tmp_path, browse, mount):
    for seed, rise in enumerate((0.1, 0.3, 0.2)):
        run = watched.with_steps(watched.run_in(tmp_path / "arm", f"seed={seed}", seed=seed), 1, 1)
        watched.write_manifest(run.path, run.path.name, dataclasses.replace(run.recipe, name="arm"))
        for record in watched.evals(rise, seed=seed):
            run.append(record)
        run.set_status(state="finished")
    watched.with_steps(watched.run_in(tmp_path, "alone", **{"training.learning_rate": 1e-3}), 1, 1)
    page = mount(browse(tmp_path))
    shares = [r["best_accuracy"] for r in page.view.rows if r["id"].startswith("arm")]
    page.click("label:has-text('by arm') input")
    assert page.view.by_arm
    assert page.find(".oopd-grid-table tbody tr").count() == 2
    mean, low, high = sum(shares) / 3, min(shares), max(shares)
    cells = page.find("tr.oopd-arm td").all_inner_texts()
    assert cells[1] == "arm"
    assert cells[3] == f"{100 * mean:.1f} {100 * low:.1f} to {100 * high:.1f}"
    page.find("input[aria-label='compare the runs of arm']").check()
    page.settle()
    assert sorted(page.view.chosen) == ["arm/seed=0", "arm/seed=1", "arm/seed=2"]
    page.click("tr.oopd-arm button:has-text('▸ 3 runs')")
    assert page.find("tr.oopd-of-arm").count() == 3
    assert page.page.evaluate("() => document.activeElement.textContent") == "▾ 3 runs"
    page.press("g")
    assert page.find(".oopd-grid-table tbody tr").count() == 4


def test_an_arm_is_told_by_what_it_learns_and_not_by_how_it_is_kept(tmp_path):
    recipe = watched.run_in(tmp_path, "a").manifest.recipe
    changed = lambda section, key, value: {**recipe, section: {**recipe[section], key: value}}  # noqa: E731
    assert arm_mark(changed("training", "keep", 9)) == arm_mark({**recipe, "seed": 7}) == arm_mark(recipe)
    assert arm_mark(changed("evaluation", "problems", 9)) == arm_mark(recipe)
    assert arm_mark(changed("objective", "depth", 9)) != arm_mark(recipe)
    table = omniopd.runs(tmp_path)
    assert table.loc["a", "settings"] == arm_mark(json.loads((tmp_path / "a" / MANIFEST).read_text())["recipe"])
