"""The run browser: every run in a folder has its row, and no difference is claimed beyond its interval."""

from __future__ import annotations

import os
import shutil
import threading

import pytest

from omniopd.errors import RunError
from omniopd.runs import remembered
from omniopd.runs.status import Status, write_status
from omniopd.runs.store import STATUS
from omniopd_widgets._parts.run_list import AT_LEAST, RunList
from omniopd_widgets._parts.safe import to_json
from omniopd_widgets.run_browser import RunBrowser
from tests.widgets import watched
from tests.widgets.harness import wire_bytes
from tests.widgets.hostile import PAYLOAD, hostile_strings

SECONDS = 20


def rows_of(view):
    return {row["id"]: row for row in view.rows}


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_run_has_its_row_from_its_own_ledger(folder, browse):
    rows = rows_of(browse(folder))
    assert set(rows) == {"first", "as good", "better", "early"}
    first, early = rows["first"], rows["early"]
    assert (first["state"], first["step"], first["steps"]) == ("finished", 40, 40)
    assert (first["target"], rows["as good"]["target"], rows["as good"]["seed"]) == ("labels", "paper", 1)
    assert first["teacher_tokens"] == 40 * (51_200 + 8_192)
    assert first["gain"] is not None
    assert (early["state"], early["gain"]) == ("stopped", None)


def test_a_run_whose_process_is_gone_is_lost_whatever_its_file_says(tmp_path, browse):
    run = watched.run_in(tmp_path)
    view = browse(tmp_path)
    assert rows_of(view)["watched"]["state"] == "running"
    before = os.stat(run.path / STATUS)
    write_status(run.path / STATUS, Status("running", 2**22 + 1, 1.0, 3, 40))
    os.utime(run.path / STATUS, ns=(before.st_atime_ns, before.st_mtime_ns))
    view._poll()
    assert rows_of(view)["watched"]["state"] == "lost"


def test_damaged_runs_are_named_and_not_dropped(tmp_path, browse):
    found = watched.damaged(tmp_path)
    watched.with_steps(watched.run_in(tmp_path, "whole"), 1, 2)
    torn = watched.with_steps(watched.run_in(tmp_path, "broken line"), 1, 2)
    (torn.path / "steps.jsonl").write_text('{"kind":"step"\n')
    view = browse(tmp_path, chosen=["whole", "no-status", "broken line"])
    rows = rows_of(view)
    assert {path.name for path in found.values()} | {"whole", "broken line"} == set(rows)
    # Where a run stands its records tell as well.
    assert {name for name, row in rows.items() if row["readable"]} == {"whole", "no-status"}
    assert rows["no-status"]["state"] == "lost"
    assert all(rows[path.name]["message"] for path in found.values())
    assert rows["not-json"]["message"].startswith("manifest.json cannot be read")
    assert "is not a run" in rows["no-manifest"]["message"]
    view.opened = "not-json"
    assert "manifest.json cannot be read" in view.problem
    view.opened = "whole"
    assert view.problem == ""
    assert view.monitor.run.path == tmp_path / "whole"


def test_runs_of_a_study_have_their_rows_and_open(tmp_path, browse):
    watched.with_steps(watched.run_in(tmp_path / "study" / "arm", "seed=0"), 1, 2)
    watched.with_steps(watched.run_in(tmp_path, "alone"), 1, 2)
    view = browse(tmp_path, chosen=["study/arm/seed=0", "alone"])
    assert set(rows_of(view)) == {"study/arm/seed=0", "alone"}
    assert view.comparison["names"] == ["study/arm/seed=0", "alone"] or view.comparison
    view.opened = "study/arm/seed=0"
    assert view.monitor.run.path == tmp_path / "study" / "arm" / "seed=0"


def test_new_runs_and_new_steps_appear_while_the_view_is_open(tmp_path, browse):
    view = browse(tmp_path, interval_s=0.0)
    changed = threading.Event()
    view.observe(lambda _: changed.set(), "rows")
    run = watched.run_in(tmp_path, "new")
    watched.with_steps(run, 1, 5)
    while rows_of(view).get("new", {}).get("step") != 5:
        assert changed.wait(SECONDS)
        changed.clear()
    shutil.rmtree(run.path)
    while view.rows:
        assert changed.wait(SECONDS)
        changed.clear()
    thread = view._poller._thread
    view.close()
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_a_folder_that_the_first_run_will_make_is_waited_for_and_a_file_or_a_run_is_none(tmp_path, browse):
    assert browse(tmp_path).rows == []
    assert browse(tmp_path / "later").rows == []
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="is not a folder"):
        RunBrowser(tmp_path / "file")
    run = watched.run_in(tmp_path)
    with pytest.raises(RunError, match="is a run itself"):
        RunBrowser(run.path)


def test_many_runs_are_a_small_message(tmp_path, browse):
    first = watched.with_steps(watched.run_in(tmp_path, "run 0"), 1, 1, recorded=0)
    for n in range(1, 300):
        shutil.copytree(first.path, tmp_path / f"run {n}")
    view = browse(tmp_path)
    assert len(view.rows) == 300
    assert wire_bytes(view) < 200_000


def test_where_no_kernel_runs_the_table_is_there(folder, browse, inert):
    view = browse(folder, chosen=["first", "better"])
    assert repr(view) == f"RunBrowser(4 runs in {folder.name})"
    assert len(view.fallback_html().encode()) < 30_000
    text = inert(view).inner_text("body")
    assert "better against first" in text
    assert "stopped" in text


# ── in the browser ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_search_finds_by_words_and_columns_and_says_when_nothing_matches(folder, browse, mount):
    page = mount(browse(folder))

    def shown():
        return set(page.find(".oopd-grid-table tbody .oopd-column-id").all_inner_texts())

    page.press("/")
    page.page.keyboard.type("state:stop")
    page.settle()
    assert shown() == {"early"}
    assert page.view.query == "state:stop"
    page.assign(query="labels finished")
    assert shown() == {"first", "better"}
    page.assign(query="<b>nothing</b>")
    assert page.find("p:has-text('No run matches <b>nothing</b>: 4 runs in the folder.')").is_visible()
    assert shown() == set()
    page.assign(query="")
    assert len(shown()) == 4
    assert page.leaked_keys() == []


def test_accuracy_and_gain_are_seen_beside_a_notebooks_file_list_and_columns_are_chosen(folder, browse, mount):
    page = mount(browse(folder))
    page.page.set_viewport_size({"width": 830, "height": 680})  # of a window of 1280
    boxes = [page.find(f"button:text-is('{name}')").bounding_box() for name in ("accuracy %", "gain")]
    assert all(box["x"] + box["width"] <= 830 for box in boxes)
    heads = lambda: page.find("thead th:visible .oopd-sort").all_inner_texts()  # noqa: E731
    assert heads() == ["run", "state", "accuracy %", "gain", "step", "target", "seed", "message"]
    page.click("summary:text-is('Columns')")
    page.click("label:has-text('teacher tokens') input")
    page.click("label:has-text('message') input")
    assert page.view.columns == ["state", "best_accuracy", "gain", "step", "target", "seed", "teacher_tokens"]
    assert heads()[-1] == "teacher tokens"
    page.page.set_viewport_size({"width": 1000, "height": 800})


def test_many_runs_are_there_before_their_results(folder, browse, mount, tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "_place", lambda of: tmp_path / "cache" / "rows.json")
    for number in range(120):
        shutil.copytree(folder / "better", tmp_path / "runs" / f"run{number:03d}")
    listed = RunList(tmp_path / "runs")
    first = listed.look(0.0)
    assert (len(first), listed.unread) == (120, 120 - AT_LEAST)
    assert {(row["state"], row["step"]) for row in first} == {("finished", 40)}
    assert [row["best_accuracy"] is not None for row in first] == [True] * AT_LEAST + [False] * (120 - AT_LEAST)
    every = listed.look()
    assert (listed.unread, len({row["best_accuracy"] for row in every})) == (0, 1)
    assert RunList(tmp_path / "runs").look(0.0) == every  # remembered
    page = mount(browse(tmp_path / "runs", sort="id", descending=False))
    assert page.find("tbody tr").count() == 100
    page.click("button[title='a page on']")
    assert page.find("tbody tr").count() == 20
    assert page.find("tbody .oopd-column-id >> nth=0").inner_text() == "run100"


def test_columns_sort_and_what_is_missing_comes_last(folder, browse, mount):
    page = mount(browse(folder))
    page.click("button:text-is('gain')")
    gains = page.find(".oopd-grid-table tbody tr td:nth-child(5)").all_inner_texts()
    numbers = [float(g) for g in gains[:-1]]
    assert numbers == sorted(numbers, reverse=True)
    page.click("button:text-is('gain')")
    gains = page.find(".oopd-grid-table tbody tr td:nth-child(5)").all_inner_texts()
    assert [float(g) for g in gains[:-1]] == numbers[::-1]
    assert gains[-1] == "–"
    assert (page.view.sort, page.view.descending) == ("gain", False)


def test_runs_are_chosen_compared_and_opened_with_the_keyboard_alone(folder, browse, mount):
    page = mount(browse(folder))
    for name in ("first", "as good"):
        page.find(f"input[aria-label='compare {name}']").focus()
        page.press("Space")
    assert page.view.chosen == ["first", "as good"]
    assert page.page.evaluate("() => document.activeElement.dataset.what") == "compare as good"
    page.frame()
    assert page.find(".oopd-forest th:has-text('as good')").is_visible()
    verdicts = page.find(".oopd-verdict").all_inner_texts()
    assert any("no difference shown" in said for said in verdicts)
    assert page.find("th:has-text('objective.target')").is_visible()
    page.root.focus()
    page.press("ArrowLeft", "ArrowLeft")
    page.find(".oopd-status:text-is('step 39')").wait_for()
    page.find("tr:has(.oopd-column-id :text-is('first')) button:text-is('open')").focus()
    page.press("Enter")
    assert page.view.opened == "first"
    assert page.page.evaluate("() => document.activeElement.dataset.what") == "open first"
    page.view.monitor.step = 10
    page.view.monitor.selected = 1
    assert page.view.monitor.opened.rollout.record == page.view.monitor.rollout
    page.settle()
    page.frame()
    below = page.page.locator(f"#{page.id} > .oopd-beneath")
    assert below.locator(".oopd-monitor").count() == below.locator(".oopd-beneath .oopd-rollout").count() == 1
    page.root.focus()
    page.press("c", "Escape")
    assert (page.view.chosen, page.view.opened, page.view.monitor) == ([], "", None)


def test_texts_of_foreign_runs_are_shown_and_never_obeyed(tmp_path, browse, mount, inert):
    """As directory, name, model, target, message, setting and value, and in the error of a damaged run."""
    texts = [text for text in hostile_strings() if "\0" not in text]
    directories = []
    for number, text in enumerate(texts[:60]):
        name = f"{number} {text}".replace("/", "∕").encode(
            "utf-8", "surrogateescape" if to_json(text) == text else "replace"
        )
        path = tmp_path / os.fsdecode(name[:200])
        run = watched.run_in(tmp_path, path.name, state="finished")
        watched.with_steps(run, 1, 2, recorded=0)
        odd = run.manifest.recipe | {
            "objective": {"target": text, text: [text]},
            "teacher": {"model": texts[-1 - number]},
        }
        manifest = watched.RunManifest(text, odd, number, text, {text: text}, {}, commit=text)
        (path / "manifest.json").write_text(watched.record_json(manifest), encoding="utf-8")
        directories.append(str(to_json(path.name)))
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "manifest.json").write_text(f'{{"kind": "<img src=x onerror={PAYLOAD}>"}}')
    page = mount(browse(tmp_path, chosen=directories[:6]))
    page.frame()
    found = page.find(".oopd-column-id").evaluate_all("cells => cells.map((cell) => cell.textContent)")
    assert set(found) == {*directories, "bad"}
    assert PAYLOAD in page.find("tr:has(.oopd-column-id :text-is('bad')) .oopd-column-message").text_content()
    assert page.view.rows
    for query in texts[:40]:
        page.assign(query=to_json(query))
    inert(page.view)
    page.assert_quiet()
