"""What only a real JupyterLab can tell: its keys, its kernels, its trust, its themes. One server, a page a test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from omniopd.reports.html import html_page
from tests.launch.small_notebooks import notebook as small_notebook
from tests.launch.small_notebooks import until
from tests.widgets.harness import Pages
from tests.widgets.lab import ROOT, Lab, LabPage, notebook, running_lab

VIEWS = """\
from omniopd.embedded import recorded
from omniopd_widgets import PosteriorPlot, RolloutView
record = recorded("paper").rollouts(1)[0]
strip = RolloutView(record)
strip
"""
POSTERIOR = "plot = PosteriorPlot(record)\nplot"
BENCH = """\
from omniopd.io.quiet import quiet_libraries
from omniopd_widgets import Workbench
quiet_libraries()
bench = Workbench("labels", runs=None)
bench.answer()
bench.wait()
bench
"""
BENCH_SCAN = BENCH.replace('"labels"', '"embedded"').replace("bench.wait()\n", "bench.ask_all()\nbench.wait()\n")
BENCH_LONG = BENCH.replace("bench.wait()\nbench", """\
bench.wait()
from tests.widgets.audited import rollout
record = rollout(forks=30, samples=32, tokens=33)
assert len(record.pieces) > 2000 and max(len(set(a.texts)) for a in record.audits) == 32
bench.session.rollout, bench.session.forks = None, lambda: []  # nobody is asked about this one
bench._show(record)
bench""")
# How many of what tells a fork can be seen as a whole, without scrolling anything.
IN_SIGHT = """() => {
    const frames = [document.querySelector(".jp-WindowedPanel-outer, .jp-Notebook").getBoundingClientRect()];
    const seen = (element, inner) => {
        const box = element.getBoundingClientRect();
        return [...frames, inner.getBoundingClientRect()].every((frame) => box.top >= frame.top - 1
            && box.bottom <= frame.bottom + 1 && box.left >= frame.left - 1 && box.right <= frame.right + 1);
    };
    const card = document.querySelector(".oopd-fork-card"), effect = document.querySelector(".oopd-effect-card");
    const LINES = ".oopd-effect-line, .oopd-effect-push", strip = document.querySelector(".oopd-strip");
    const texts = [...card.querySelectorAll(".oopd-story-texts .oopd-story-text")];
    const bench = document.querySelector(".oopd-bench").getBoundingClientRect();
    return {
        "page scrolls": bench.height - frames[0].height,
        "own": Number(seen(card.querySelector(".oopd-story-own"), card)),
        "texts": texts.filter((text) => seen(text, card)).length, "distinct": texts.length,
        "effect": Number([...effect.querySelectorAll(LINES)].every((line) => seen(line, effect))),
        "selected token": Number(seen(strip.querySelector(".oopd-on"), strip)),
    };
}"""
LONG = """\
import os, time
open("begun", "w").close()
while not os.path.exists("enough"):
    time.sleep(0.01)
"""
LOOKING = """\
import threading, time
def count():
    while True:
        open("looking", "w").write(str(sum(t.name == "omniopd-look" for t in threading.enumerate())))
        time.sleep(0.05)
counting = globals().get("counting") or threading.Thread(target=count, daemon=True)
counting.is_alive() or counting.start()
"""
BROWSER = "from omniopd_widgets import RunBrowser\nRunBrowser('.', interval_s=0.1)"
MONITOR = "from omniopd_widgets import TrainingMonitor\nTrainingMonitor(recorded(), interval_s=0.1)"
OUTCOME = """\
from omniopd.embedded import recorded
from omniopd.reports.summary import outcome
print(outcome(recorded()))
"""
# On how many lines of the page each line of a printed table stands.
LINES = """() => {
    const walk = document.createTreeWalker(document.querySelector("{place}"), NodeFilter.SHOW_TEXT);
    const found = [];
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
        let at = 0;
        for (const line of node.data.split("\\n")) {
            const range = document.createRange();
            range.setStart(node, at);
            range.setEnd(node, at + line.length);
            if (/^(at |best |───)/.test(line)) found.push(new Set([...range.getClientRects()].map((r) => r.top)).size);
            at += line.length + 1;
        }
    }
    return found;
}"""
LAUNCHER = "from omniopd_widgets import Launcher\nview = Launcher('long.ipynb', interval_s=0.1)\nview"


@pytest.fixture(scope="module")
def lab(pages: Pages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with running_lab(folder) as running:
        yield running


@pytest.fixture
def opened(lab: Lab, pages: Pages) -> Iterator[Any]:
    """opened(name) is that notebook in a tab of its own."""
    tabs: list[Any] = []

    def place(name: str) -> LabPage:
        page = pages.browser.new_page(viewport={"width": 1300, "height": 2200})
        tabs.append(page)
        return lab.open(page, name)

    yield place
    for page in tabs:
        page.close()


def test_keys_of_a_view_stay_in_it_and_a_moved_slider_is_on_the_screen(lab: Lab, opened: Any) -> None:
    tab = opened(notebook(lab.folder, "views", VIEWS, POSTERIOR))
    tab.run_all()
    assert tab.errors() == []
    cells, page = tab.cells(), tab.page
    strip = page.locator(".oopd-rollout-view, .oopd-view").first
    strip.focus()
    first = strip.locator(".oopd-status").inner_text()
    # In the notebook b would insert a cell below, and d d would delete one.
    for key in ("n", "b", "d", "d", "a", "x"):
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    assert tab.cells() == cells
    assert strip.locator(".oopd-status").inner_text() != first
    plot = page.locator(".oopd-posterior")
    before = plot.inner_text()
    slider = plot.locator("input[type=range]").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("([e, t]) => e.innerText !== t", arg=[plot.element_handle(), before], timeout=2000)


def test_from_a_problem_to_the_posterior_with_nothing_but_clicks(lab: Lab, opened: Any) -> None:
    tab = opened(notebook(lab.folder, "bench", BENCH))
    tab.run_all()
    assert tab.errors() == []
    page = tab.page
    page.get_by_role("button", name="Ask at all forks").click()
    page.locator(".oopd-story-text").first.wait_for(timeout=60_000)
    page.get_by_role("tab", name="Trust").click()
    page.wait_for_function("document.querySelectorAll('.oopd-posterior-list tbody tr').length >= 4", timeout=60_000)
    page.get_by_role("tab", name="Texts").click()
    assert "Teacher continued the student's exact text" in page.locator(".oopd-audit").inner_text()
    for theme, dark in (
        ("JupyterLab Dark", True),
        ("JupyterLab Dark High Contrast", True),
        ("JupyterLab Light", False),
    ):
        tab.theme(theme)
        background, text = page.evaluate(
            "() => { const s = getComputedStyle(document.querySelector('.oopd-view'));"
            " return [s.backgroundColor, s.color]; }"
        )
        assert (_brightness(background) < _brightness(text)) == dark, theme
        assert abs(_brightness(background) - _brightness(text)) > 100, theme


@pytest.mark.parametrize("made", [BENCH_SCAN, BENCH_LONG], ids=["a scan", "2,000 tokens, 30 forks, 32 texts"])
def test_a_selected_fork_is_told_on_one_screen(lab: Lab, opened: Any, made: str) -> None:
    tab = opened(notebook(lab.folder, f"screen{len(made)}", made))
    tab.run_all()
    assert tab.errors() == []
    page = tab.page
    for width, height in ((1280, 800), (1440, 900), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("document.querySelector('.oopd-bench').scrollIntoView({block: 'start'})")
        page.locator(".oopd-bench .oopd-forks button").nth(1).click()
        page.wait_for_function("document.querySelector('.oopd-fork-card h3')?.innerText.includes(' 2 of ')")
        told = page.evaluate(IN_SIGHT)
        assert told["page scrolls"] <= 0, (width, told)
        assert told["own"] == told["effect"] == told["selected token"] == 1, (width, told)
        assert told["texts"] == told["distinct"] > 0, (width, told)


def test_the_table_of_results_is_whole_in_a_small_window(lab: Lab, opened: Any, pages: Pages) -> None:
    """Beside the list of files, and in the page that is made of the notebook."""
    tab = opened(notebook(lab.folder, "outcome", OUTCOME))
    tab.page.set_viewport_size({"width": 1280, "height": 800})
    tab.run_all()
    lines = tab.page.evaluate(LINES.replace("{place}", ".jp-OutputArea-output pre"))
    assert len(lines) >= 7
    assert set(lines) == {1}
    shutil.copy(ROOT / "notebooks/reports/run_report.ipynb", lab.folder)
    tab.page.goto("about:blank")
    tab.page.set_content(html_page(lab.folder / "run_report.ipynb").read_text(encoding="utf-8"))
    lines = tab.page.evaluate(LINES.replace("{place}", ".jp-OutputArea-output pre"))
    assert len(lines) >= 7  # the first output of the page is the verdict
    assert set(lines) == {1}


@pytest.mark.parametrize("cells", [(BENCH,), (VIEWS, MONITOR, BROWSER, LAUNCHER)])
def test_a_restarted_kernel_shows(lab: Lab, opened: Any, cells: tuple[str, ...]) -> None:
    small_notebook(lab.folder / "long.ipynb", LONG)
    tab = opened(notebook(lab.folder, f"restarted-{len(cells)}", *cells))
    tab.run_all()
    assert tab.errors() == []
    views = tab.page.locator(".oopd-view:not(.oopd-view .oopd-view)")
    said = tab.page.locator(".oopd-ended:visible")
    until(lambda: views.count() >= len(cells))
    assert said.count() == 0
    tab.restart_kernel()
    until(lambda: said.count() == views.count())
    assert "has ended or was restarted" in said.first.inner_text()


def test_a_run_outlives_its_notebooks_kernel_and_a_second_notebook_finds_it(lab: Lab, opened: Any) -> None:
    small_notebook(lab.folder / "long.ipynb", LONG)
    first = opened(notebook(lab.folder, "first", LAUNCHER))
    first.run_all()
    assert first.errors() == []
    first.page.locator(".oopd-launch-start").click()
    until(lambda: (lab.folder / "begun").exists())
    first.restart_kernel()
    second = opened(notebook(lab.folder, "second", LAUNCHER))
    second.run_all()
    state = second.page.locator(".oopd-launch-runs .oopd-state")
    state.first.wait_for(timeout=30_000)
    assert "running" in state.first.inner_text()
    (lab.folder / "enough").touch()
    second.page.wait_for_function(
        "() => document.querySelector('.oopd-launch-runs .oopd-state')?.innerText.includes('finished')", timeout=60_000
    )


def test_a_cell_that_is_run_again_leaves_no_thread_behind(lab: Lab, opened: Any) -> None:
    small_notebook(lab.folder / "long.ipynb", LONG)
    tab = opened(notebook(lab.folder, "again", LOOKING, LAUNCHER, BROWSER))
    for _ in range(3):
        tab.run_all()
    assert tab.errors() == []
    until(lambda: (lab.folder / "looking").read_text() == "2")
    tab.page.locator(".oopd-launcher").wait_for()


def test_a_notebook_that_nobody_ran_shows_its_views_without_a_kernel(lab: Lab, opened: Any) -> None:
    name = "01_entropy_and_forks.ipynb"
    shutil.copy(ROOT / "notebooks" / name, lab.folder / name)
    tab = opened(name)
    fallback = tab.page.locator("text=RolloutView(56 tokens").first
    fallback.wait_for(timeout=30_000)
    shown = tab.page.locator(".jp-Notebook").inner_text()
    assert "Ida has 49*2=98 pens." in shown.replace("\n", " ") or "49*2=" in shown
    assert tab.page.locator(".jp-OutputArea-output script").count() == 0


def _brightness(colour: str) -> float:
    """0 to 255, of `rgb(…)` or `color(srgb …)`."""
    numbers = [
        float(part)
        for part in colour.replace("(", " ").replace(")", " ").replace(",", " ").split()
        if part[0].isdigit()
    ]
    scale = 255 if colour.startswith("color") else 1
    return sum(numbers[:3]) / 3 * scale
