"""plotly's bar of buttons beside the titles of figures, in a real browser."""

from __future__ import annotations

from omniopd.embedded import RECORDED
from omniopd.reports.comparison import compare
from omniopd.runs.listing import result_runs
from tests.widgets.harness import Pages

BOXES = """p => ['.gtitle', '.modebar'].map((e) => p.querySelector(e).getBoundingClientRect())
    .map((r) => [r.left, r.right])"""


def test_the_bar_covers_no_title(pages: Pages) -> None:
    """At 700 pixels, which is less than a notebook has in a window of 1,280; the longest title of a comparison."""
    comparison = compare(result_runs([str(RECORDED)]), "embedded")
    figure = max(comparison.plots(), key=lambda one: len(one.layout.title.text))
    assert len(figure.layout.title.text) > 50
    page = pages.browser.new_page(viewport={"width": 700, "height": 500})
    page.set_content(figure.to_html(include_plotlyjs=True, config={"displaylogo": False}))
    plot = page.locator(".js-plotly-plot")
    plot.hover()
    page.locator(".modebar-btn").first.wait_for()
    (_, title_ends), (bar_begins, _) = plot.evaluate(BOXES)
    page.close()
    assert title_ends < bar_begins
