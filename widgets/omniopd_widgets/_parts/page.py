"""A view as one HTML file that needs no kernel and no network: its script, its style, its state.

A content policy allows this very script, by its hash, and nothing else; texts are data in it, shown by the same code
as in a notebook and never obeyed.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from omniopd_widgets._parts import assets
from omniopd_widgets._parts.safe import element, visible

_NOT_STATE = ("_esm", "_css", "layout", "tabbable", "tooltip")
_START = """
{
  const states = JSON.parse(document.getElementById("state").textContent);
  const models = pageModels(states.models);
  const el = document.getElementById("view");
  oopdView.render({ model: models[states.root], el, signal: new AbortController().signal });
}
"""


class Saved(Protocol):
    """What a page needs of a view."""

    _esm: Any
    _css: Any
    model_id: Any

    @property
    def shared_views(self) -> Mapping[str, Any]: ...

    def get_state(self) -> Any: ...


def page(view: Saved, title: str) -> str:
    """The whole page. What only Python can compute stays as it is now."""
    script = f"{assets.inline(assets.STATIC / '_page.js')}\n{assets.named(str(view._esm), 'oopdView')}{_START}"
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{allowed}'; style-src 'unsafe-inline'; img-src blob:"
    shared = view.shared_views
    models = {part.model_id: _state(part) for part in (*shared.values(), view)}
    models[view.model_id] |= {"frozen": True, "parts": {name: part.model_id for name, part in shared.items()}}
    state = json.dumps({"root": view.model_id, "models": models}, ensure_ascii=False, allow_nan=False)
    heading = element("h1", title, style="font:600 15px system-ui,sans-serif;margin:0 0 8px")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>{html.escape(visible(title))}</title><style>{view._css}\nbody{{margin:12px}}</style></head>"
        f'<body>{heading}<div id="view"></div>'
        # No text can end the element that holds it.
        f'<script type="application/json" id="state">{state.replace("<", chr(92) + "u003c")}</script>'
        f'<script type="module">{script}</script></body></html>'
    )


def suffixed(path: str | Path) -> Path:
    """The path with `.html` at its end where it has none."""
    path = Path(path)
    return path if path.suffix == ".html" else path.with_name(f"{path.name}.html")


def _state(view: Saved) -> dict[str, Any]:
    return {name: _packed(value) for name, value in view.get_state().items() if name not in _NOT_STATE}


def _packed(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"__bytes__": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, dict):
        return {name: _packed(inner) for name, inner in value.items()}
    return [_packed(inner) for inner in value] if isinstance(value, list | tuple) else value
