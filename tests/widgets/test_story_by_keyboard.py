"""The story that the workbench is for, on one screen and by keys alone: the student wrote 31, the teacher says 29 eight
times, this target would strengthen the mistake, that one would not; train with it; before and after, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omniopd_widgets import CheckpointPair, Workbench

SETTINGS: dict[str, Any] = {
    "audit__way": "chunks", "audit__forks": 4, "audit__chunk_tokens": 6, "audit__samples": 8,
    "audit__similarity": "characters", "objective__target": "paper", "objective__anchor_weight": 0.1,
}  # fmt: skip
FOCUSED = "() => document.activeElement.textContent"
SEEN = """words => { const card = document.querySelector(words);
  const { top, bottom } = card.getBoundingClientRect(); return top >= 0 && bottom <= innerHeight; }"""


def tab_to(page: Any, words: str) -> None:
    """Tab until what has the focus begins with these words."""
    for _ in range(150):
        page.page.keyboard.press("Tab")
        if page.page.evaluate(FOCUSED).strip().startswith(words):
            return
    raise AssertionError(f"no Tab reaches {words!r}")


def test_the_story_is_told_on_one_screen_by_keys_alone_and_in_a_shared_file(mount, pages, tmp_path: Path) -> None:
    bench = Workbench("embedded", runs=str(tmp_path / "runs"), problems=3, **SETTINGS)
    bench.answer()
    bench.ask_all()
    bench.wait()
    page = mount(bench)
    page.page.set_viewport_size({"width": 1280, "height": 800})
    for _ in range(150):
        page.page.keyboard.press("Tab")
        if page.page.evaluate("() => document.activeElement.matches('.oopd-rollout')"):
            break
    bench.rollout.selected = 0
    page.settle()
    for _ in range(4):
        page.page.keyboard.press("n")
        page.settle()
    assert page.text(".oopd-fork-card h3").startswith("Fork 4 of 4")
    card = page.text(".oopd-fork-card")
    assert "31 stamps." in card
    assert "8×" in card
    assert "29 stamps." in card
    warning = page.text(".oopd-story-warning")
    assert warning.startswith("⚠ The teacher never begins with “3”, but by characters its texts agree to 0.8")
    assert warning.endswith("this update strengthens what the student wrote.")
    assert "up ↑" in page.text(".oopd-effect-card")
    assert page.page.evaluate(SEEN, ".oopd-fork-card")
    assert page.page.evaluate(SEEN, ".oopd-effect-card")
    shared = bench.save_html(tmp_path / "story")

    tab_to(page, "↓ labels")
    page.page.keyboard.press("Enter")
    page.settle()
    bench.wait()
    page.settle()
    assert bench.settings["objective.target"] == "labels"
    assert page.find(".oopd-story-warning").count() == 0
    tab_to(page, "Train…")
    page.page.keyboard.press("Enter")
    page.settle()
    assert bench.tab == "runs"
    assert "objective.target=labels" in bench.launcher.values["settings"]
    bench.close()

    alone = pages.browser.new_page(viewport={"width": 1280, "height": 800})
    alone.goto(shared.as_uri())
    alone.locator(".oopd-fork-card h3:has-text('Fork 4 of 4')").wait_for()
    assert alone.locator(".oopd-story-warning").inner_text() == warning
    assert "29 stamps." in alone.locator(".oopd-fork-card").inner_text()
    alone.close()

    pair = CheckpointPair("embedded:student", "embedded:teacher").wait()
    both = mount(pair)
    assert both.find(".oopd-verdict").all_inner_texts() == ["✗ wrong, expected 29", "✓ right"]
