"""What every view has: its script and style, a fixed repr, an inert picture for where no kernel runs, a problem line.

A view shows records. What the user does is an assignment to a trait (`view.selected = 57`); messages are not used.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anywidget
from traitlets import TraitError, Unicode, validate

from omniopd.errors import RunError
from omniopd.runs.files.atomic import write_text
from omniopd_widgets._parts import assets
from omniopd_widgets._parts.page import page, suffixed
from omniopd_widgets._parts.safe import SafeHTML, element, fit, redact, to_json

FALLBACK_BYTES = 30_000
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class View(anywidget.AnyWidget):
    """Base of the views.

    A subclass in `my_view.py` has its script in `static/my_view.js` beside it, and its style sheet, if any, in
    `static/my_view.css`. It declares its traits (`.tag(sync=True)`, texts through `to_json`), says in `summary` what it
    shows (fixed: no address, no time, for the tests of notebooks), and gives in `fallback` its parts as inert HTML.
    `problem` is one line above the view, for what went wrong; `label` names the view for a screen reader. A view of
    other views names their classes in `made_of`; its script imports theirs.
    """

    made_of: ClassVar[tuple[type[View], ...]] = ()
    problem = Unicode("").tag(sync=True)
    label = Unicode("").tag(sync=True)

    def __init_subclass__(cls, **more: Any) -> None:
        script = _file_of(cls, ".js")
        if script.exists() and "_esm" not in cls.__dict__:  # anywidget makes a class of its own for each view
            cls._esm, cls._css = assets.script(script), assets.style(*dict.fromkeys(_sheets(cls)))
        super().__init_subclass__(**more)

    def summary(self) -> str:
        """One line about what is shown, such as `7904 tokens, 10 forks`."""
        return ""

    def fallback(self) -> Sequence[SafeHTML]:
        """The view as inert HTML, in parts from important to less so; what exceeds 30 kB is left out."""
        return ()

    def fallback_html(self) -> SafeHTML:
        """What GitHub, an HTML export and an untrusted notebook show: no script, no formula, nothing loaded."""
        head = element("p", repr(self), style="margin:0 0 6px;font-weight:600")
        problem = [element("p", self.problem, style="color:#b3261e;margin:0 0 6px")] if self.problem else []
        body = fit([head, *problem, *self.fallback()], FALLBACK_BYTES - 1_000)
        # The classes keep MathJax from typesetting what is between two dollar signs.
        around = '<div class="oopd-fallback tex2jax_ignore mathjax_ignore" style="max-width:100%;overflow-x:auto">'
        return SafeHTML(around + body + "</div>")

    @property
    def inner_views(self) -> Mapping[str, View]:
        """The views that this one shows, by name."""
        return {}

    @property
    def shared_views(self) -> Mapping[str, View]:
        """Those of them that go into a page for others."""
        return self.inner_views

    def save_html(self, path: str | Path, title: str = "") -> Path:
        """Write the view as one interactive page for anybody's browser, without kernel or network; returns its path.

        What the page computes itself goes on working (selection, search, α of a posterior); what Python computes stays
        as it is. Raises RunError where the file cannot be written, and for a view that is closed.
        """
        if self.comm is None:
            raise RunError(f"{self!r} is closed, and can no longer be saved: make it again")
        written = suffixed(path)
        write_text(written, page(self, title or repr(self)))
        return written

    def __repr__(self) -> str:
        return f"{type(self).__name__}({to_json(self.summary())})"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data: dict[str, Any] = {"text/plain": repr(self), "text/html": str(self.fallback_html())}
        if self.comm is not None:
            data[WIDGET_VIEW] = {"version_major": 2, "version_minor": 1, "model_id": self.model_id}
        return data, {}

    def close(self) -> None:
        """Take the view off the page. It can still be displayed as inert HTML, and be collected."""
        super().close()
        # ipywidgets hides the bundle of a closed widget behind None; ours still has its inert part.
        self.__dict__.pop("_repr_mimebundle_", None)

    @validate("problem", "label")
    def _shown_text(self, proposal: Any) -> str:
        text = proposal["value"]
        if not isinstance(text, str):
            raise TraitError(f"{proposal['trait'].name} of {type(self).__name__} is {text!r}: it must be a text")
        return to_json(redact(text))


def _sheets(view: type[View]) -> list[Path]:
    """The style sheets of what a view is made of, of its bases, and its own."""
    inner = [sheet for part in view.made_of for sheet in _sheets(part)]
    own = [_file_of(base, ".css") for base in reversed(view.__mro__) if issubclass(base, View)]
    return [*inner, *(file for file in own if file.exists())]


def _file_of(view: type[View], suffix: str) -> Path:
    """Where the script or style sheet of a view stands: in `static`, beside its module and named like it."""
    module = Path(getattr(sys.modules.get(view.__module__), "__file__", None) or "notebook")
    return module.parent / "static" / f"{module.stem}{suffix}"
