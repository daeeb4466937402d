"""The page of an executed notebook: one HTML file that runs nothing and loads nothing.

What models wrote reaches a notebook as plain text and is escaped; HTML and Markdown are cleaned; pictures stand in the
page as data; and a content policy forbids scripts and the network, should anything have slipped through.
"""

from __future__ import annotations

import logging
from pathlib import Path

from omniopd.errors import RunError
from omniopd.runs.atomic import write_text

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"
DESCRIPTION = "A chart; its numbers stand in the records of the run"
# Alternatives a page cannot show without running something, or that could run something.
_ACTIVE = ("application/javascript", "application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json")
# What a story told in Markdown is made of, beyond the tags that bleach allows by itself.
_STORY = (
    "p", "br", "hr", "h1", "h2", "h3", "h4", "div", "span", "pre", "table", "thead", "tbody", "tr", "th", "td",
)  # fmt: skip


def html_page(notebook: str | Path, page: str | Path | None = None, title: str = "") -> Path:
    """Write the page of a notebook beside it (or to `page`) and return its path. Raises RunError for what is none."""
    import nbconvert
    import nbformat

    notebook = Path(notebook)
    page = notebook.with_suffix(".html") if page is None else Path(page)
    try:
        content = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise RunError(f"{notebook} cannot be read as a notebook: {error}") from error
    for cell in content.cells:
        for output in cell.get("outputs", []):
            for kind in _ACTIVE:
                output.get("data", {}).pop(kind, None)
    exporter = nbconvert.HTMLExporter(
        sanitize_html=True, embed_images=True, mathjax_url="", require_js_url="", jquery_url="",
        filters={"clean_html": _cleaned},
    )  # fmt: skip
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.log.setLevel(logging.ERROR)  # pictures without a description are described below
    text, _ = exporter.from_notebook_node(content, resources={"metadata": {"name": title or notebook.stem}})
    meta = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    text = text.replace("No description has been provided for this image", DESCRIPTION)
    write_text(page, text.replace("<head>", f"<head>{meta}", 1))
    return page


def _cleaned(element: str | bytes) -> str:
    """nbconvert's own cleaning, which leaves headings and paragraphs as well."""
    import bleach

    text = element.decode() if isinstance(element, bytes) else str(element)
    attributes = {**bleach.ALLOWED_ATTRIBUTES, "*": ["class", "id"]}
    return str(bleach.clean(text, tags={*bleach.ALLOWED_TAGS, *_STORY}, attributes=attributes))
