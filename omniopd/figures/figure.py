"""plotly's figure in this project's theme, with a static picture beside it for pages and hubs without JavaScript.

Plotly takes a text for a little HTML and for LaTeX: names from outside pass through `inert` on their way into a figure.
"""

from __future__ import annotations

import html
import json
from contextlib import suppress
from typing import Any

import plotly.graph_objects as go

from omniopd.errors import DataError
from omniopd.figures.ink import INK
from omniopd.io.texts import one_line

# Told apart by the colour-blind and on paper, and at least 3:1 beside white and beside JupyterLab's dark grey.
COLOURS = ("#3f78c4", "#d2601a", "#1f8a63", "#b257a9", "#967800", "#1794b8", "#c8434e", "#6f7c86")
GRID, CLEAR = "rgba(128,128,128,0.25)", "rgba(0,0,0,0)"  # a page's own background shows through
_LONGEST = 30  # letters of a name that a legend shows
_AXIS = {"gridcolor": GRID, "zeroline": False, "separatethousands": True, "automargin": True}
# Buttons that a line chart has no use for: the bar stands in the title's line, and would cover a long one.
_SPARE = ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]
THEME = go.layout.Template(
    layout={
        "colorway": COLOURS, "paper_bgcolor": CLEAR, "plot_bgcolor": CLEAR, "xaxis": _AXIS, "yaxis": _AXIS,
        "font": {"color": INK, "size": 12, "family": "system-ui, sans-serif"}, "hoverlabel": {"namelength": -1},
        "title": {"x": 0, "xref": "paper", "font": {"size": 14}},
        "modebar": {"bgcolor": CLEAR, "color": INK, "activecolor": COLOURS[0], "remove": _SPARE},
        "margin": {"l": 64, "r": 16, "t": 50, "b": 44},
    }
)  # fmt: skip


class Figure(go.Figure):  # type: ignore[misc]
    """A `plotly.graph_objects.Figure`: `update_layout`, `write_html` and the rest are plotly's."""

    # Plotly's own would leave the static picture out, and load a script from the network.
    _ipython_display_ = _repr_html_ = None

    @classmethod
    def titled(cls, title: str, x_label: str, y_label: str = "", height: int = 300) -> Figure:
        """An empty one in the theme; the texts are shown as they are."""
        axes = {"xaxis": {"title": {"text": inert(x_label)}}, "yaxis": {"title": {"text": inert(y_label)}}}
        return cls(layout={"title": {"text": inert(title)}, "height": height, "template": THEME, **axes})

    def __repr__(self) -> str:
        from omniopd.figures.static import shown

        names = [shown(trace.name) for trace in self.data if trace.name and trace.showlegend is not False]
        return f"Figure({shown(self.layout.title.text)!r}: {', '.join(names)})"

    def svg(self) -> str:
        """The figure as a static picture. Raises DataError for a kind of trace that has none."""
        from omniopd.figures.static import svg

        return svg(self)

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> dict[str, Any]:
        bundle = {"application/vnd.plotly.v1+json": json.loads(self.to_json()), "text/plain": repr(self)}
        # Without a static picture where there is none: another kind of trace, or a range beyond matplotlib's numbers.
        with suppress(DataError, ValueError, OverflowError):
            bundle["image/svg+xml"] = self.svg()
        return bundle


def inert(text: str) -> str:
    """A text that plotly shows as it is: no tag, no entity, no formula, no template, one line."""
    return html.escape(one_line(text), quote=False).replace("$", "&#36;").replace("%", "&#37;")


def shortened(name: str) -> str:
    """The beginning and the end of a long name: names that settings tell apart differ there."""
    return name if len(name) <= _LONGEST else f"{name[:12]}…{name[13 - _LONGEST :]}"
