"""A view saved as a page: it works in any browser without kernel or network, and runs nothing that a text says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omniopd.errors import RunError
from omniopd.records import RolloutRecord
from omniopd.teachers.local import LocalTeacher
from omniopd_widgets import AuditPanel, PosteriorPlot, RolloutView, RunBrowser, UpdateLedger, Workbench
from tests.builders import tiny_model, tiny_tokenizer
from tests.widgets.audited import rollout
from tests.widgets.harness import Pages
from tests.widgets.hostile import hostile_strings
from tests.widgets.records import audit_at, long_record, rollout_record
from tests.widgets.test_workbench import workbench


@pytest.fixture
def opened(pages: Pages, tmp_path: Path):
    """opened(view) saves a view and opens the file in a browser that can reach nothing; it was quiet at the end."""
    used = []

    def place(view: Any) -> Any:
        file = view.save_html(tmp_path / "page")
        page = pages.browser.new_page(viewport={"width": 1200, "height": 900})
        log, asked = [], []
        page.on("pageerror", lambda error: log.append(str(error)))
        page.on("console", lambda message: log.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        page.locator(".oopd-view").first.wait_for()
        used.append((page, log, asked, file))
        return page

    yield place
    for page, log, asked, file in used:
        assert log == []
        assert asked == [file.as_uri()] * len(asked)
        assert page.evaluate("window.__pwned ?? null") is None
        page.close()


def test_an_answer_is_searched_and_walked_through_without_a_kernel(opened) -> None:
    record = rollout_record()
    page = opened(RolloutView(record))
    texts = page.locator(".oopd-strip .oopd-t").all_text_contents()
    assert "".join(texts) == "".join(record.pieces)
    page.locator(".oopd-view").first.focus()
    page.keyboard.press("n")
    page.wait_for_function("document.querySelector('.oopd-fork-detail').innerText.includes('Fork 2 of 3')")


def test_a_page_without_a_kernel_does_not_say_that_one_has_ended(opened, mount) -> None:
    for view in (RolloutView(rollout_record()), AuditPanel(rollout_record())):
        for page in (opened(view), mount(view).page):
            assert page.locator(".oopd-ended").count() == 1
            assert not page.locator(".oopd-ended").is_visible()
        assert "kernel" not in view.fallback_html()


def test_alpha_of_a_posterior_moves_without_a_kernel(opened) -> None:
    page = opened(PosteriorPlot(rollout()))
    before = page.locator(".oopd-posterior-list").inner_text()
    page.locator("input[type=range]").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("text => document.querySelector('.oopd-posterior-list').innerText !== text", arg=before)


def test_the_workbench_is_shared_with_its_views_following_each_other(opened) -> None:
    bench = workbench(LocalTeacher(tiny_model(1, context=512), tiny_tokenizer()))
    bench.ask_all()
    bench.wait()
    page = opened(bench)
    assert page.locator("h1").inner_text() == bench.rollout.record.messages[-1]["content"]
    assert not page.locator(".oopd-bench-top").is_visible()
    page.locator(".oopd-forks button").nth(1).click()
    page.wait_for_function("document.querySelector('.oopd-fork-card h3').innerText.includes('Fork 2 of')")
    page.get_by_role("tab", name="Trust").click()
    second = bench.stories[1]["start"]
    assert page.locator(".oopd-posterior-list [aria-current=true]").inner_text().startswith(f"2 of 2 ({second}")
    page.locator(".oopd-posterior-list tbody button").first.click()
    page.get_by_role("tab", name="At this fork").click()
    assert "Fork 1 of" in page.locator(".oopd-fork-card h3").inner_text()
    bench.close()


def test_what_is_shared_tells_nothing_of_the_machine(opened, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MY_PRIVATE_API_KEY", "x" * 30)
    bench = Workbench("embedded", runs=str(tmp_path / "private-runs"), problems=2)
    bench.answer()
    bench.wait()
    bench.bar.press("use")
    page = opened(bench)
    told = page.content()
    assert "MY_PRIVATE_API_KEY" not in told
    assert "private-runs" not in told
    assert page.locator(".oopd-fork-card").is_visible()
    assert page.locator("[role=tab]").all_inner_texts() == ["At this fork", "Texts", "Trust", "Loss"]
    assert page.locator(".oopd-fork-card button").count() == 0  # nobody can be asked here
    assert page.title() == bench.rollout.record.messages[-1]["content"]
    bench.close()


def test_a_closed_view_is_one_sentence(tmp_path: Path) -> None:
    view = RolloutView(rollout_record())
    view.close()
    with pytest.raises(RunError, match="is closed"):
        view.save_html(tmp_path / "page")


def test_a_name_with_a_dot_gets_its_ending(tmp_path: Path) -> None:
    assert RolloutView(rollout_record()).save_html(tmp_path / "qwen2.5").name == "qwen2.5.html"


def test_every_hostile_text_is_shown_and_none_obeyed(opened) -> None:
    texts = hostile_strings()
    asked = ({"role": "user", "content": texts[1]},)
    record = RolloutRecord(0, 0, "p", asked, texts[:300], (-0.5,) * 300, (0.4,) * 300)
    page = opened(RolloutView(record, problem=texts[4], label=texts[3]))
    assert page.locator(".oopd-strip .oopd-t").count() == 300
    page = opened(AuditPanel([audit_at(0, texts[0], texts[:40], problem=texts[1], handover=texts[2])]))
    assert page.locator("script").count() == 2


def test_a_text_cannot_end_the_element_that_holds_it(opened) -> None:
    text = "</script><script>window.__pwned = 1</script><!--"
    record = replace(rollout_record(), pieces=(text, *rollout_record().pieces[1:]))
    page = opened(RolloutView(record))
    assert page.locator(".oopd-strip .oopd-t").first.text_content() == text


def test_a_page_of_a_thousand_tokens_and_a_hundred_texts_is_small(tmp_path: Path) -> None:
    record = long_record(1000, audits=10, samples=10)
    for view in (RolloutView(record), AuditPanel(record), PosteriorPlot(record), UpdateLedger(record)):
        assert view.save_html(tmp_path / "small.html").stat().st_size < 1_500_000


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere"):
        RolloutView(rollout_record()).save_html(tmp_path / "nowhere" / "page.html")


def test_share_writes_beside_the_notebook_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bench = workbench(LocalTeacher(tiny_model(1, context=512), tiny_tokenizer()))
    bench.bar.press("share")
    [page] = tmp_path.glob("workbench-*.html")
    assert page.name in bench.bar.place
    assert page.stat().st_size < 1_500_000
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    bench.bar.press("share")
    assert "workbench-" in bench.bar.problem
    bench.close()


def test_a_view_of_files_is_saved_as_it_is_seen_now(opened, tmp_path: Path) -> None:
    page = opened(RunBrowser(tmp_path))
    assert "No run" in page.locator(".oopd-view").inner_text()
