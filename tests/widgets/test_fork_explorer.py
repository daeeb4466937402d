"""The fork explorer in a browser: what matches is shown a page at a time, opened, counted and labelled by hand."""

from __future__ import annotations

import shutil
import time

import pytest

from omniopd.config import load_recipe
from omniopd.embedded import RECORDED
from omniopd.records import RolloutRecord
from omniopd.runs import forks, open_run
from omniopd.runs.fork_labels import LABELS, labels_of
from omniopd.runs.store import create_run
from omniopd_widgets import ForkExplorer
from omniopd_widgets._parts.safe import to_json
from omniopd_widgets.fork_explorer import PAGE
from tests.widgets.harness import wire_bytes
from tests.widgets.hostile import PAYLOAD, hostile_strings
from tests.widgets.records import audit_at, rollout_record
from tests.widgets.scanned import scanned

WHERE = "entropy > .5 and agreement < .3"


@pytest.fixture
def explore():
    """explore(runs) is an explorer that has read all; closed at the end."""
    made = []

    def start(runs, **more):
        made.append(ForkExplorer(runs, **more))
        until = time.monotonic() + 60
        while made[-1].reading and time.monotonic() < until:
            time.sleep(0.05)
        made[-1].live = False
        return made[-1]

    yield start
    for view in made:
        view.close()


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    where = tmp_path_factory.mktemp("runs") / "labels"
    shutil.copytree(RECORDED / "labels", where)
    return where


def ids(mounted):
    return mounted.find("tbody [data-what]").evaluate_all("all => all.map((e) => e.dataset.what)")


def test_what_matches_is_sorted_over_all_rows_and_shown_a_page_at_a_time(labels, explore, mount):
    mounted = mount(explore(labels))
    view, every = mounted.view, forks(labels)
    assert (view.total, view.matching, len(view.rows)) == (len(every), len(every), PAGE)
    mounted.click("th button:has-text('entropy')")
    mounted.settle()
    expected = every.sort_values("entropy", ascending=False, kind="stable")
    assert [row["entropy"] for row in view.rows] == expected.entropy.tolist()[:PAGE]
    mounted.press("]")
    assert [row["entropy"] for row in view.rows] == expected.entropy.tolist()[PAGE : 2 * PAGE]
    assert mounted.text(".oopd-bar .oopd-quiet >> nth=1") == "101–200"
    question = mounted.find(".oopd-forks-where")
    question.fill(WHERE)
    question.press("Enter")
    mounted.settle()
    assert (view.matching, view.first) == (len(forks(labels, WHERE)), 0)
    assert mounted.find("table.oopd-grid-table >> nth=0").locator("tbody tr").count() == view.matching
    assert f"{view.matching} of 864 forks of 1 run" in mounted.text(".oopd-body")


def test_a_mistake_is_a_sentence_and_what_was_found_stays(labels, explore, mount):
    mounted = mount(explore(labels, where=WHERE))
    rows = mounted.view.rows
    question = mounted.find(".oopd-forks-where")
    question.fill("entrpy > __import__('os')")
    question.press("Enter")
    mounted.settle()
    assert "the nearest is entropy" in mounted.text(".oopd-body [role=alert]")
    assert mounted.view.rows == rows
    mounted.assign(where="")
    assert mounted.view.mistake == ""
    assert not mounted.find(".oopd-body [role=alert]").is_visible()


def test_a_fork_opens_in_its_answer_at_its_place(labels, explore, mount):
    mounted = mount(explore(labels, where=WHERE, sort="entropy"))
    mounted.press("n", "n")
    view = mounted.view
    row = view.rows[1]
    assert view.selected == row["id"]
    assert "/" not in row["id"]  # no folder of a machine in a saved notebook
    assert (view.rollout.step, view.rollout.row, view.audit.start) == (row["step"], row["rollout"], row["start"])
    opened, panel = view.opened_views
    assert opened.forks[opened.fork]["start"] == row["start"]
    assert panel.audits[panel.fork] == view.audit
    assert mounted.find("tr.oopd-chosen").count() == 1
    mounted.press("Escape")
    assert (view.selected, view.opened_views) == ("", ())


def test_a_pair_of_words_and_a_group_narrow_the_expression(labels, explore, mount):
    mounted = mount(explore(labels, where="not probe"))
    pair = mounted.view.pairs[0]
    mounted.click(".oopd-forks-pairs button")
    assert mounted.view.mistake == ""
    assert mounted.view.matching == pair["forks"]
    assert {(row["wrote"], row["writes"]) for row in mounted.view.rows} == {(pair["wrote"], pair["writes"])}
    mounted.assign(where="", by="kind")
    counts = {group["kind"]: group["forks"] for group in mounted.view.groups}
    assert counts == forks(labels).kind.value_counts().to_dict()
    mounted.click(".oopd-forks-groups button:has-text('split')")
    mounted.settle()
    assert (mounted.view.where, mounted.view.matching) == ('kind == "split"', counts["split"])


def test_a_label_is_written_beside_the_run_and_judged_against_similarities(tmp_path, explore, mount):
    run = create_run(tmp_path, load_recipe("embedded"), "one")
    run.write_rollouts(3, [rollout_record()])
    run.set_status(state="finished")
    mounted = mount(explore(run))
    view = mounted.view
    mounted.press("1")
    assert labels_of(run.path) == {}  # nothing is selected
    for key in ("n", "1", "n", "2"):
        mounted.press(key)
    mounted.find("input[placeholder='why (a note)']").fill("says the same")
    mounted.find("input[placeholder='why (a note)']").press("Enter")
    mounted.settle()
    first, second = rollout_record().audits
    assert run.forks().set_index("start").label.to_dict() == {
        first.start: LABELS[0], second.start: LABELS[1], second.stop + 1: "",
    }  # fmt: skip
    assert [row["label"] for row in view.rows] == [*LABELS[:2], ""]
    assert labels_of(run.path)[3, 0, second.start, second.chunk].note == "says the same"
    ranks = {row["similarity"]: (row["ranks"], row["pairs"]) for row in view.agreement}
    assert ranks["recorded"] == (float(second.soft_count / 3 > first.soft_count / 6), 1)
    assert mounted.find("button[aria-pressed=true]:has-text('only wording')").count() == 1
    mounted.press("Escape")
    mounted.press("p")
    assert view.judgement == LABELS[0]
    mounted.press("0")
    assert run.forks().label.tolist().count("") == 2
    mounted.assign(labelled={"fork": "elsewhere|3:0:2", "label": "other"})
    assert "there is no fork 'elsewhere|3:0:2' here" in mounted.text("[role=alert]")


def test_steps_of_a_run_in_progress_are_added_and_a_damaged_one_is_named(tmp_path, explore):
    run = create_run(tmp_path, load_recipe("embedded"), "one")
    run.write_rollouts(1, [scanned()])
    view = explore(tmp_path)
    view.selected = view.rows[1]["id"]
    run.write_rollouts(2, [rollout_record()])
    (run.path / "rollouts" / "step_000003.jsonl").write_text("{broken\n")
    assert view._poll(60.0)  # the run goes on, so there is more to look for
    assert (view.total, view.runs) == (6, 1)
    assert view.audit == scanned().audits[1]
    assert "line 1 of" in view.problem
    run.set_status(state="finished")
    assert not view._poll(60.0)


def test_a_scan_and_several_runs_stand_in_one_table(tmp_path, explore):
    for name in ("a", "b"):
        run = create_run(tmp_path, load_recipe("embedded"), name)
        run.write_rollouts(1, [scanned(), rollout_record()])
        run.set_status(state="finished")
    view = explore([tmp_path / "a", open_run(tmp_path / "b")], where="scan and kind != 'agreed'")
    assert [(row["run"], row["writes"]) for row in view.rows[::2]] == [("a", "42"), ("b", "42")]
    assert repr(view) == "ForkExplorer(4 of 12 forks of 2 runs)"


def test_hostile_texts_are_shown_and_never_obeyed(tmp_path, explore, mount, inert):
    run = create_run(tmp_path, load_recipe("embedded"), "one")
    texts = hostile_strings()[:120]
    rollouts = [
        RolloutRecord(i, 1, text, (), (text, "a"), (-1.0,) * 2, (0.5,) * 2,
                      audits=(audit_at(0, text, (texts[-i - 1],) * 2, text_pieces=()),))
        for i, text in enumerate(texts)
    ]  # fmt: skip
    run.write_rollouts(1, rollouts)
    run.set_status(state="finished")
    mounted = mount(explore(tmp_path, by="prompt"))
    assert to_json(mounted.view.rows[0]["chunk"]) in mounted.contents("td .oopd-text")
    for at in range(4):
        mounted.find(".oopd-forks-pairs button").nth(at).click()
        mounted.settle()
        assert mounted.view.mistake == ""
        mounted.assign(where="")
    mounted.assign(where=f"chunk == '<script>{PAYLOAD}</script>'")
    mounted.press("n", "n")
    inert(mounted.view)
    mounted.assert_quiet()


def test_keys_stay_in_the_view_and_little_goes_over_the_wire(labels, explore, mount):
    mounted = mount(explore(labels))
    mounted.press("n", "p", "[", "]", "0")
    assert mounted.leaked_keys() == []
    assert wire_bytes(mounted.view) < 120_000


def test_without_a_kernel_the_first_rows_are_shown(labels, explore, inert):
    view = explore(labels, where=WHERE)
    page = inert(view)
    assert page.locator("tr").count() > 15
    assert f"{view.matching} of 864 forks of 1 run" in page.inner_text("body")
