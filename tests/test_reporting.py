"""A notebook's page shows what was written in it and runs none of it."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from omniopd.charts import Chart
from omniopd.errors import RunError
from omniopd.reporting import POLICY, html_page

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("page")
    chart = Chart("Loss", {"loss": ([1, 2], [2, 1])}, "step", "nats")
    outputs = [
        new_output("stream", text=f"the student wrote {EVIL}"),
        new_output("execute_result", data={"text/plain": EVIL}, execution_count=1),
        new_output("display_data", data={"text/html": f"<b>bold</b>{EVIL}", "text/plain": "x"}),
        new_output("display_data", data={"application/javascript": "alert(3)", "text/plain": "y"}),
        new_output("display_data", data=chart._repr_mimebundle_()),
        new_output("display_data", data={"image/svg+xml": f"<svg>{EVIL}</svg>", "text/plain": "z"}),
    ]
    notebook = new_notebook(cells=[new_markdown_cell(f"# Title {EVIL}"), new_code_cell("1", outputs=outputs)])
    nbformat.write(notebook, tmp_path / "train.ipynb")
    return html_page(tmp_path / "train.ipynb", title="a run").read_text(encoding="utf-8")


def test_what_models_wrote_is_shown_as_text(page):
    assert "the student wrote &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page
    assert "onerror=alert(2)>" not in page.replace("&lt;img src=x onerror=alert(2)&gt;", "")


def test_the_story_is_set_as_headings_and_paragraphs(page):
    assert re.search(r"<h1[^>]*>Title", page)
    assert "&lt;h1" not in page
    assert "&lt;p&gt;" not in page


def test_the_page_may_run_nothing_and_load_nothing(page):
    assert POLICY in page
    assert page.index(POLICY) < page.index("<title>")
    assert "script-src" not in POLICY  # falls under default-src 'none'
    assert 'src="http' not in page
    assert "alert(3)" not in page


def test_pictures_stand_in_the_page_as_data(page):
    assert len(re.findall(r"<img[^>]* src=.data:image/svg\+xml;base64,", page)) == 2


def test_what_is_no_notebook_is_one_sentence(tmp_path):
    (tmp_path / "x.ipynb").write_text("{")
    with pytest.raises(RunError, match=r"x.ipynb cannot be read as a notebook"):
        html_page(tmp_path / "x.ipynb")
