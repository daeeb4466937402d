"""One view's script and style sheet as strings: the shared parts and the view's own file, joined.

A script may import names from shared files and from nowhere else: those that begin with an underscore, beside it or in
this package's static/. A view made of other views imports each whole, `import answer from "./rollout_view.js"`.
What would let a text become markup, or let a request leave the page, is refused here, so that no view can ship it.
Strings and not paths: a path makes anywidget watch the file, and a watched widget is never collected.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parents[1] / "static"

# The name of SVG's elements, which the browser asks for and never fetches: the one address in a script.
SVG_NAMESPACE = '"http://www.w3.org/2000/svg"'

SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|srcdoc|DOMParser|createContextualFragment"
    r"|\beval\s*\(|new\s+Function|\bimport\s*\(|\bimportScripts|\bfetch\s*\(|XMLHttpRequest|WebSocket|EventSource"
    r"|sendBeacon|javascript:|https?:|\.src\b|\.href\b|\bwindow\.open|\blocalStorage|\bdocument\.cookie|new\s+Worker"
)
STYLE_SINKS = re.compile(r"@import|url\s*\(|https?:|expression\s*\(|</style", re.IGNORECASE)

_IMPORT = re.compile(r'^import\s*\{[^}]*\}\s*from\s*"\./(_[a-z_]+\.js)";[ \t]*\n?', re.MULTILINE)
_IMPORT_VIEW = re.compile(r'^import ([a-z]\w*) from "\./([a-z][a-z_]*\.js)";[ \t]*\n?', re.MULTILINE)
_EXPORT_VIEW = re.compile(r"^export default (\{ render \});[ \t]*$", re.MULTILINE)
_ANY_IMPORT = re.compile(r"(?:^|;)\s*(import\b|export\s*(?:\{[^}]*\}|\*)[^;\n]*\bfrom\b)", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class)\b)", re.MULTILINE)


@cache
def script(file: Path) -> str:
    """The ES module of a view, with the shared files it imports before it, each once.

    Raises ValueError for an import of anything else, an address, or a sink.
    """
    parts: list[str] = []
    _collect(file, parts, set())
    return "\n".join([*parts, _own(file)])


@cache
def style(*files: Path) -> str:
    """The shared style sheet, and these after it. Raises ValueError for an import or an address."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in (STATIC / "_common.css", *files)}
    for name, text in texts.items():
        if sink := STYLE_SINKS.search(text):
            raise ValueError(f"{name} holds {sink[0]!r}: a style sheet of a view loads nothing")
    return "\n".join(texts.values())


def inline(shared: Path) -> str:
    """A shared file as a part of a script."""
    return _EXPORT.sub("", _own(shared))


def named(module: str, name: str) -> str:
    """A view's joined module as a constant of this name, in a scope of its own."""
    body = _EXPORT_VIEW.sub(r"return \1;", module)
    return f"const {name} = (() => {{\n{body}\n}})();\n"


def check(text: str, name: str) -> None:
    """Raises ValueError with the first thing in a script that could run a text or reach out of the page."""
    if sink := SINKS.search(text.replace(SVG_NAMESPACE, "")):
        line = text.count("\n", 0, text.find(sink[0])) + 1
        raise ValueError(f"{name}:{line} holds {sink[0]!r}: texts are set with textContent, and nothing is loaded")
    if foreign := _ANY_IMPORT.search(_IMPORT_VIEW.sub("", _IMPORT.sub("", text))):
        raise ValueError(f"{name} has {foreign[1]!r}: import only names of shared files, such as ./_common.js")


def _collect(file: Path, parts: list[str], seen: set[str]) -> None:
    """The shared files and the views that a script imports, each once and after those that it imports itself."""
    text = file.read_text(encoding="utf-8")
    check(text, file.name)
    seen.add(file.name)
    for shared in _IMPORT.findall(text):
        if shared not in seen:
            beside = file.parent / shared
            found = beside if beside.exists() else STATIC / shared
            _collect(found, parts, seen)
            parts.append(inline(found))
    for name, view in _IMPORT_VIEW.findall(text):
        if view not in seen:
            _collect(file.parent / view, parts, seen)
            # In a scope of its own: two views may both have a function `draw`.
            parts.append(named(_own(file.parent / view), name))


def _own(file: Path) -> str:
    return _IMPORT_VIEW.sub("", _IMPORT.sub("", file.read_text(encoding="utf-8")))
