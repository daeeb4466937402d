"""The training monitor's page: a cursor that charts share, keys, clicks, and texts that nobody obeys."""

from __future__ import annotations

import dataclasses

from omniopd_widgets._parts.history import key
from omniopd_widgets._parts.safe import shorten, to_json
from tests.widgets import watched
from tests.widgets.hostile import PAYLOAD, hostile_strings


def test_charts_share_a_cursor_that_keys_move(over, follow, mount):
    page = mount(follow(over))
    total = ".oopd-chart:has(b:text-is('Loss')) .oopd-value >> nth=0"
    read = '.oopd-chart:has(b:text-is("Teacher\'s tokens so far")) .oopd-value >> nth=0'
    assert page.text(read) == "2.05M"
    page.press("Home", "ArrowRight", "ArrowRight")
    assert page.text(total) == f"{over.steps()[1].loss:.3g}"
    assert page.text(read) == "102k"
    # The axis ends before the first step: the untrained student was evaluated at 0.
    loss = page.find(".oopd-chart:has(b:text-is('Loss')) .oopd-plot")
    assert loss.get_attribute("aria-label").startswith("Loss (nats) by step: total 0.2")
    page.press("Enter")
    assert page.view.step == 1
    page.press("]", "]")
    assert page.view.step == 20
    page.press("n")
    assert (page.view.newest, page.view.step) == (True, 40)
    assert page.leaked_keys() == []


def test_everything_is_reached_by_the_keyboard(over, follow, mount):
    page = mount(follow(over))
    page.root.focus()
    seen = []
    for _ in range(60):
        page.page.keyboard.press("Tab")
        seen.append(page.page.evaluate("() => document.activeElement.textContent || document.activeElement.type"))
    assert {"Update again", "checkbox", "range", "open", "step 1", "Keys (?)"} <= set(seen)
    open_third = page.find("button[data-what='open 3']")
    open_third.focus()
    page.press("Enter")
    assert page.view.selected == 3
    assert open_third.get_attribute("aria-pressed") == "true"
    page.press("Enter")  # the row was drawn anew, and kept the focus
    assert page.view.selected == -1


def test_texts_of_the_table_scroll_nowhere_and_have_room(over, follow, mount):
    page = mount(follow(over))
    cells = page.find(":is(.oopd-column-question, .oopd-column-answer) .oopd-text")
    looks = cells.evaluate_all("all => all.map((e) => [getComputedStyle(e).overflowY, e.clientWidth, e.clientHeight])")
    assert len(looks) > 2
    assert all(overflow == "hidden" and width > 160 and height < 120 for overflow, width, height in looks)


def test_a_click_on_a_head_sorts_and_says_so(over, follow, mount):
    page = mount(follow(over))
    page.click("button:text-is('peak entropy')")
    shown = page.find("tbody tr td:nth-child(9)").all_inner_texts()
    assert shown == sorted(shown, reverse=True)
    assert page.find("th[aria-sort=descending]").inner_text().startswith("peak entropy")


def test_the_steps_of_a_prompt_open_its_answer_one_after_the_other(over, follow, mount):
    page = mount(follow(over))
    row = page.view.forks["strips"][0]["row"]
    for step in (10, 20, 10):
        page.click(f".oopd-strips button:text-is('step {step}')")
        assert (page.view.step, page.view.selected) == (step, row)
        assert page.view.opened_views[0].record == over.rollouts(step)[row]


def test_what_is_opened_stands_beneath_in_the_same_widget(over, follow, mount):
    """Without boxes of ipywidgets, which not every notebook has."""
    page = mount(follow(over))
    below = page.page.locator(f"#{page.id} > .oopd-beneath")
    assert below.locator(".oopd-view").count() == 0
    page.assign(step=10, selected=2)
    page.frame()
    names = [view.label for view in page.view.opened_views]
    assert names == ["rollout of row 2 of step 10", "audits of row 2 of step 10"]
    assert [view.get_attribute("aria-label") for view in below.locator(".oopd-view").all()] == names
    answer = below.locator(".oopd-view").first
    rollout, panel = page.view.opened_views
    before = rollout.fork
    answer.focus()
    page.page.keyboard.press("p" if before else "n")
    page.settle()
    assert rollout.fork == panel.fork != before
    page.assign(selected=3)  # in the same views
    assert below.locator(".oopd-view").count() == 2
    assert answer.get_attribute("aria-label") == names[0]
    page.assign(selected=-1)
    assert below.locator(".oopd-view").count() == 0
    page.unmount()
    assert page.page.locator(".oopd-beneath").count() == 0


def test_a_saved_page_holds_what_is_open(over, follow, pages, tmp_path):
    view = follow(over)
    view.selected = 1
    file = view.save_html(tmp_path / "monitor")
    page = pages.browser.new_page()
    page.goto(file.as_uri())
    page.locator(".oopd-beneath .oopd-rollout .oopd-strip").wait_for()
    assert page.locator(".oopd-charts:not(.oopd-same) .oopd-plot").count() == len(view.panels)
    page.close()


def test_the_page_follows_what_the_thread_reads(tmp_path, follow, mount):
    run = watched.with_steps(watched.run_in(tmp_path, steps=10), 1, 3)
    page = mount(follow(run))
    assert page.find("[role=progressbar]").get_attribute("aria-valuenow") == "3"
    watched.with_steps(run, 4, 5, recorded=1)
    watched.finished(run)
    watched.until(page.view, "live", lambda: not page.view.live)
    page.settle()
    page.frame()
    assert page.find("[role=progressbar]").get_attribute("aria-valuenow") == "5"
    assert page.text(".oopd-state") == "finished"
    assert page.find("output:text-is('step 5: 3 of 3 recorded')").count() == 1


def test_an_empty_run_says_what_is_missing(tmp_path, follow, mount):
    page = mount(follow(watched.run_in(tmp_path)))
    text = page.root.inner_text()
    assert "No step has been written yet." in text
    assert "No rollout has been recorded yet." in text


def test_texts_of_a_run_are_shown_and_never_obeyed(tmp_path, follow, mount, inert):
    """As run name, status message, prompt, prompt id, answer, chunk, expected answer, failure, model and error."""
    texts = hostile_strings()
    run = watched.run_in(tmp_path)
    watched.write_manifest(run.path, "".join(texts[:8]))
    for number in range(4):
        part = texts[250 * number : 250 * (number + 1)]
        run.append(watched.step(number + 1, failures=dict.fromkeys(part[:40], 1)))
        records = [
            watched.rollout(
                number + 1, row, prompt=text, messages=({"role": text, "content": text},), answer=text,
                pieces=(text, *part[:23]), unanswered=((0, text),),
            )
            for row, text in enumerate(part)
        ]  # fmt: skip
        run.write_rollouts(number + 1, records)
    run.append(dataclasses.replace(watched.evals()[0], model=texts[3]))
    (run.path / "rollouts" / "step_000009.jsonl").write_text(f'{{"kind": "{PAYLOAD}<img src=x onerror={PAYLOAD}>"}}\n')
    run.set_status(message="".join(texts[20:30]))
    page = mount(follow(run))
    assert PAYLOAD in page.text(".oopd-problem")
    for number in range(4):
        page.assign(step=number + 1)
        part = texts[250 * number : 250 * (number + 1)]
        asked = page.find(".oopd-grid-table tbody td:nth-child(3)").evaluate_all(
            "cells => cells.map((cell) => cell.textContent)"
        )
        assert asked == [to_json(shorten(text, 80)) for text in part]
        page.assign(prompt=key(part[7]), selected=7)
    assert page.find(".oopd-strips button").count() == 1
    inert(page.view)
    page.assert_quiet()


def test_charts_of_a_long_run_are_drawn_at_once(tmp_path, follow, mount):
    run = watched.run_in(tmp_path, steps=5_000)
    (run.path / "steps.jsonl").write_text("".join(watched.record_json(watched.step(n)) + "\n" for n in range(1, 5_001)))
    page = mount(follow(run))
    assert page.timing["painted"] < 1_000
