"""The page of an executed notebook: one HTML file that runs nothing and loads nothing.

It is made from what may be shown, not from what a notebook holds less what may not. What models wrote reaches a
notebook as plain text and is escaped; HTML and Markdown are cleaned; pictures stand in the page as data; and a content
policy forbids scripts and the network, should anything have slipped through.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from omniopd.errors import RunError
from omniopd.io.texts import whole
from omniopd.runs.files.atomic import write_text

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"
VERDICT = "verdict"  # the tag of cells whose outputs a reader wants first
DESCRIPTION = "A figure; its numbers stand in the records of the run"
# What a page is made of, whatever else a notebook holds: texts and pictures, of which the richest is shown.
_TEXTS = ("text/html", "text/markdown", "text/plain", "image/svg+xml")
_PICTURES = ("image/png", "image/jpeg")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")
_ADDRESS, _IMPORTED = re.compile(r"url\([^)]*\)"), re.compile(r"@import[^;]*;")
_SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)
# What a story told in Markdown is made of, beyond the tags that bleach allows by itself.
_STORY = (
    "p", "br", "hr", "h1", "h2", "h3", "h4", "div", "span", "pre", "table", "caption", "thead", "tbody", "tr", "th",
    "td", "mark",
)  # fmt: skip


def html_page(notebook: str | Path, title: str = "") -> Path:
    """Write the page of a notebook beside it and return its path. Raises RunError where it cannot be read as one."""
    import nbconvert
    import nbformat

    notebook = Path(notebook)
    page = notebook.with_suffix(".html")
    try:
        content = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise RunError(f"{notebook} cannot be read as a notebook: {error}") from error
    content = _made_of_what_may_be_shown(content)
    exporter = nbconvert.HTMLExporter(
        sanitize_html=True, embed_images=False, mathjax_url="", require_js_url="", jquery_url="",
        filters={"clean_html": _cleaned},
    )  # fmt: skip
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.log.setLevel(logging.ERROR)  # pictures without a description are described below
    text, _ = exporter.from_notebook_node(content, resources={"metadata": {"name": title or notebook.stem}})
    meta = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    meta += '<meta name="color-scheme" content="light dark">'
    dark = f"<style>@media screen and (prefers-color-scheme: dark) {{{_dark(exporter)}}}</style>"
    # The template's own scripts; there are no others, since every text of the notebook is escaped or cleaned.
    text = _SCRIPT.sub("", text.replace("No description has been provided for this image", DESCRIPTION))
    text = text.replace("<head>", f"<head>{meta}", 1).replace("</head>", f"{dark}</head>", 1)
    write_text(page, text)
    return page


def _dark(exporter: Any) -> str:
    """The template's dark theme: the light one is the page's, and gives way where the reader's screen is dark."""
    sheets = (Path(folder) / "static" / "theme-dark.css" for folder in exporter.template_paths)
    found = next((sheet.read_text(encoding="utf-8") for sheet in sheets if sheet.is_file()), "")
    return without_addresses(found)


def without_addresses(sheet: str) -> str:
    """A style sheet that fetches nothing."""
    return _ADDRESS.sub("none", _IMPORTED.sub("", sheet))


def _made_of_what_may_be_shown(content: Any) -> Any:
    """A new notebook of the cells' texts, their outputs' texts and pictures, and nothing else: no metadata, no widgets,
    no attachments, no other types. Raw cells, which would go into the page as they are, are shown as code.

    What cells tagged `verdict` have shown stands behind the title, before parameters and code."""
    from nbformat import v4

    cells: list[Any] = []
    first: list[Any] = []
    for number, cell in enumerate(content.get("cells") or []):
        source = _text(cell.get("source"))
        if cell.get("cell_type") == "markdown":
            # Attachments are not brought along, and a missing one would end the page.
            made = v4.new_markdown_cell(source.replace("attachment:", "attachment%3A"))
        else:
            outputs = [output for given in cell.get("outputs") or [] if (output := _output(given)) is not None]
            made = v4.new_code_cell(source, outputs=outputs)
            if outputs and _has_tag(cell, VERDICT):
                made["metadata"]["transient"] = {"remove_source": True}
        made["id"] = f"cell-{number}"
        (first if "transient" in made["metadata"] else cells).append(made)
    cells[1:1] = first
    return v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python", "pygments_lexer": "python3"}})


def _has_tag(cell: Any, tag: str) -> bool:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return isinstance(tags, list) and tag in tags


def _output(given: Any) -> Any:
    from nbformat import v4

    kind = given.get("output_type")
    if kind == "stream":
        name = "stderr" if given.get("name") == "stderr" else "stdout"
        return v4.new_output("stream", name=name, text=_text(given.get("text")))
    if kind == "error":
        lines = given.get("traceback")
        traceback = [_text(line) for line in lines] if isinstance(lines, list) else []
        ename, evalue = _text(given.get("ename")), _text(given.get("evalue"))
        return v4.new_output("error", ename=ename, evalue=evalue, traceback=traceback)
    if kind not in ("display_data", "execute_result"):
        return None
    held = given.get("data") if isinstance(given.get("data"), dict) else {}
    data = {name: _text(held[name]) for name in (*_TEXTS, *_PICTURES) if name in held}
    data = {name: text for name, text in data.items() if name not in _PICTURES or _BASE64.fullmatch(text)}
    return v4.new_output("display_data", data=data) if data else None


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(map(_text, value))
    return whole("" if value is None else str(value))


def _cleaned(element: str | bytes) -> str:
    """nbconvert's own cleaning, which leaves headings and paragraphs as well."""
    import bleach

    text = element.decode() if isinstance(element, bytes) else str(element)
    attributes = {**bleach.ALLOWED_ATTRIBUTES, "*": ["class", "id"]}
    return str(bleach.clean(text, tags={*bleach.ALLOWED_TAGS, *_STORY}, attributes=attributes))
