"""A notebook with views, saved and exported: readable without a kernel, and nothing in it runs or is fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter

from omniopd.embedded import RECORDED, recorded
from omniopd.records import RolloutRecord
from omniopd.reports.comparison import compare, comparison_page
from omniopd.runs.listing import result_runs
from omniopd_widgets import AuditPanel, PosteriorPlot, RolloutView, UpdateLedger
from omniopd_widgets._parts.safe import visible
from tests.widgets.harness import Pages
from tests.widgets.hostile import hostile_strings
from tests.widgets.records import audit_at, rollout_record


def saved(*views: Any) -> nbformat.NotebookNode:
    """A notebook whose cells showed these views, as JupyterLab saves it (without the state of widgets)."""
    cells = []
    for view in views:
        data, metadata = view._repr_mimebundle_()
        output = nbformat.v4.new_output("execute_result", data=data, metadata=metadata, execution_count=1)
        cells.append(nbformat.v4.new_code_cell("view", outputs=[output], execution_count=1))
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.validate(notebook)
    return nbformat.reads(nbformat.writes(notebook), as_version=4)


def test_an_export_shows_the_texts_and_runs_none(pages: Pages) -> None:
    texts = hostile_strings()
    record = RolloutRecord(0, 0, "p", (), texts[:300], (-0.5,) * 300, (0.4,) * 300)
    panel = AuditPanel([audit_at(0, texts[0], texts[:40], problem=texts[1], handover=texts[2])], label=texts[3])
    notebook = saved(RolloutView(record, problem=texts[4]), panel)
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    with pages.page(html=body) as (page, _):
        shown = page.locator(".oopd-fallback").all_text_contents()
        assert len(shown) == 2
        assert "".join(map(visible, texts[:20])) in shown[0]
        assert all(visible(text) in shown[1] for text in texts[:40])
        assert page.locator(".oopd-fallback :is(script, img, iframe, a, svg, style, link, form)").count() == 0


def test_a_hundred_views_make_a_small_notebook() -> None:
    views = [RolloutView(rollout_record()), AuditPanel(rollout_record())] * 50
    assert len(nbformat.writes(saved(*views))) < 2_000_000


def test_the_page_of_a_comparison_needs_no_scrolling_sideways_in_a_small_window(pages: Pages, tmp_path: Path) -> None:
    written = comparison_page(compare(result_runs([str(RECORDED)]), "embedded"), tmp_path / "report.html")
    page = pages.browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(written.as_uri())
    wide = page.locator("table").evaluate_all("all => all.map((t) => [t.scrollWidth, t.clientWidth])")
    page.close()
    assert len(wide) == 4
    assert all(needed <= there for needed, there in wide)


def test_a_fork_has_one_token_number_in_the_record_and_in_every_static_view() -> None:
    record = recorded("paper").rollouts(1)[0]
    starts = [audit.start for audit in record.audits]
    assert len(starts) > 1
    assert [record.entropies[start] for start in starts] == pytest.approx([a.entropy for a in record.audits])
    for view in (RolloutView(record), AuditPanel(record), PosteriorPlot(record), UpdateLedger(record)):
        told = re.findall(r"(\d+) of (\d+) \((?:tokens? )?(\d+)–(\d+)\)", re.sub(r"<[^>]*>", " ", view.fallback_html()))
        names = {(str(k + 1), str(len(starts)), str(a.start), str(a.stop - 1)) for k, a in enumerate(record.audits)}
        assert set(told) == names, type(view).__name__
