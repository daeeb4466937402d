"""A notebook's page shows what was written in it and runs none of it."""

import json
import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from omniopd.errors import RunError
from omniopd.figures import lines
from omniopd.reports.html import POLICY, html_page, without_addresses

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("page")
    figure = lines("Loss", {"loss": ([1, 2], [2, 1])}, "step", "nats")
    outputs = [
        new_output("stream", text=f"the student wrote {EVIL}"),
        new_output("execute_result", data={"text/plain": EVIL}, execution_count=1),
        new_output("display_data", data={"text/html": f"<b>bold</b>{EVIL}", "text/plain": "x"}),
        new_output("display_data", data={"application/javascript": "alert(3)", "text/plain": "y"}),
        new_output("display_data", data=figure._repr_mimebundle_()),
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


def test_a_dark_screen_gets_the_dark_theme(page):
    dark = page[page.index("prefers-color-scheme: dark") :]
    assert re.search(r"--jp-layout-color0: #111;", dark[: dark.index("</style>")])
    fetching = "@import url(x.css); a { background: url(http://x/y.png) } b { color: red }"
    assert without_addresses(fetching) == " a { background: none } b { color: red }"


def test_pictures_stand_in_the_page_as_data(page):
    assert len(re.findall(r"<img[^>]* src=.data:image/svg\+xml;base64,", page)) == 2


def test_the_verdict_stands_first_and_without_its_code(tmp_path):
    ended = new_code_cell("print(outcome(run))", outputs=[new_output("stream", text="43 points better")])
    ended.metadata["tags"] = ["verdict"]
    failed = new_code_cell("print('no output')", metadata={"tags": ["verdict"]})
    story = [new_markdown_cell("# Title"), new_code_cell("steps = 3"), new_markdown_cell("## Training"), ended, failed]
    nbformat.write(new_notebook(cells=story), tmp_path / "run.ipynb")
    text = Seen(html_page(tmp_path / "run.ipynb").read_text(encoding="utf-8")).text
    order = [text.index(words) for words in ("43 points better", "steps", "Training", "no output")]
    assert text.rindex("Title", 0, order[0]) < order[0]
    assert order == sorted(order)
    assert "outcome" not in text


def test_what_is_no_notebook_is_one_sentence(tmp_path):
    (tmp_path / "x.ipynb").write_text("{")
    with pytest.raises(RunError, match=r"x.ipynb cannot be read as a notebook"):
        html_page(tmp_path / "x.ipynb")


HOSTILE = (
    '<meta http-equiv="refresh" content="0;url=http://evil/"><script>alert(1)</script><base href="http://evil/">'
    '<iframe src="http://evil/"></iframe><img src="x" onerror="alert(2)"><form action="http://evil/">'
    '<object data="x"></object><link rel="stylesheet" href="http://evil/x.css"><svg onload="alert(3)"></svg>'
    '"\'><a href="javascript:alert(4)">'
)
KINDS = (
    "text/html", "text/markdown", "text/latex", "text/plain", "text/vnd.mermaid", "text/javascript", "image/svg+xml",
    "image/png", "image/jpeg", "image/gif", "application/javascript", "application/json", "application/pdf",
    "application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json", "application/vnd.vega.v5+json",
    "video/mp4", "application/x-made-up",
)  # fmt: skip
SHOWN = {"html", "head", "body", "title", "meta", "style", "main", "div", "span", "pre", "code", "h1", "h2", "h3", "h4",
         "p", "a", "img", "table", "thead", "tbody", "tr", "td", "th", "ul", "ol", "li", "em", "strong", "br", "hr",
         "b", "i", "abbr", "acronym", "blockquote"}  # fmt: skip


def foreign():
    """A notebook of a stranger, hostile wherever one can be."""
    widget = {"widgets": {"application/vnd.jupyter.widget-state+json": {"state": {HOSTILE: HOSTILE}}}}
    metadata = {"title": HOSTILE, "raw_mimetype": "text/html", "tags": [HOSTILE], "name": HOSTILE}
    links = "[here](javascript:alert(5)) ![x](attachment:a.png) ![y](/etc/passwd)"
    markdown = new_markdown_cell(f"# A story\n\n{HOSTILE}\n\n{links}")
    markdown["attachments"] = {"a.png": {f"image/png{HOSTILE}": HOSTILE}}
    cells = [markdown, nbformat.v4.new_raw_cell(HOSTILE), nbformat.v4.new_raw_cell(HOSTILE)]
    cells[1]["metadata"] = {"raw_mimetype": "text/html"}
    cells[2]["metadata"] = {"format": "text/html"}
    outputs = [new_output("display_data", data={kind: HOSTILE}, metadata={kind: {"width": HOSTILE}}) for kind in KINDS]
    outputs += [
        new_output("stream", name="stderr", text=HOSTILE),
        new_output("error", ename=HOSTILE, evalue=HOSTILE, traceback=[HOSTILE, f"\x1b[31m{HOSTILE}"]),
        new_output("display_data", data={"text/plain": "half \ud83d of one"}),
    ]
    cells.append(new_code_cell(f"print(1)  # {HOSTILE}", outputs=outputs, metadata=metadata))
    for cell in cells:
        cell["metadata"] = metadata | dict(cell["metadata"])
    language = {"name": HOSTILE, "pygments_lexer": HOSTILE, "file_extension": HOSTILE}
    return new_notebook(cells=cells, metadata={**widget, **metadata, "language_info": language})


class Seen(HTMLParser):
    """What a browser would make elements of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name.lower(): value or "" for name, value in attrs}))

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.text += data


def test_a_strangers_notebook_brings_nothing_but_texts_and_pictures(tmp_path):
    (tmp_path / "foreign.ipynb").write_text(json.dumps(foreign()))
    seen = Seen(html_page(tmp_path / "foreign.ipynb", title=HOSTILE).read_text(encoding="utf-8"))
    assert {tag for tag, _ in seen.elements} <= SHOWN
    assert [held["content"] for tag, held in seen.elements if "http-equiv" in held] == [POLICY]
    for _, held in seen.elements:
        assert not [name for name in held if name.startswith("on") or name == "srcset"]
        assert held.get("src", "data:image/").startswith("data:image/")
        assert held.get("href", "#").startswith(("#", "http:"))  # a link, which somebody may follow
    assert "root:" not in seen.text
    assert "alert(1)" in seen.text  # it is shown, as what it is
