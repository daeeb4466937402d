"""The static picture of a figure, drawn by matplotlib: an SVG that runs and loads nothing, the same at every call.

It draws what figures here are made of: lines, markers, whiskers, bands, upright lines, notes beside the axes.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

from omniopd.errors import DataError
from omniopd.figures.ink import INK, number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

WIDTH = 640  # pixels, where the figure says nothing
_SYMBOLS = {"triangle-left": "<", "triangle-right": ">"}
_STYLES = {"dash": "--", "dot": ":", "dashdot": "-."}
_SETTINGS: dict[Any, Any] = {
    # No identifiers by chance, texts that stay texts, and no formula in anybody's name.
    "svg.hashsalt": "omniopd", "svg.fonttype": "none", "text.parse_math": False, "font.size": 9,
    "font.sans-serif": ["DejaVu Sans", "Arial"], "axes.titlesize": 9.75, "text.color": INK, "axes.labelcolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": INK, "axes.spines.top": False, "axes.spines.right": False,
    "axes.spines.left": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": "#80808040",
    "grid.linewidth": 0.7, "ytick.major.size": 0, "legend.frameon": False,
}  # fmt: skip


def svg(figure: Figure) -> str:
    """Raises DataError for a figure with a kind of trace that is not drawn here."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    if not is_drawable(figure):
        kinds = sorted({trace.type for trace in figure.data} - {"scatter"})
        raise DataError(f"no static picture is drawn of {', '.join(kinds)}: write_html keeps the figure as it is")
    file, size = io.StringIO(), (figure.layout.width or WIDTH, figure.layout.height or 300)
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a letter that its font lacks: the viewer's has it
        canvas = Canvas(figsize=(size[0] / 96, size[1] / 96), layout="constrained")
        _draw(figure, canvas.add_subplot())
        handles, names = canvas.axes[0].get_legend_handles_labels()
        if len(names) > 1:
            across = figure.layout.legend.orientation == "h"
            place = {"loc": "outside upper right", "ncols": len(names)} if across else {"loc": "outside right center"}
            canvas.legend(handles, names, **place)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(canvas).print_svg(file, metadata={**nothing, "Title": shown(figure.layout.title.text)})
    drawn = file.getvalue()
    return re.sub(r"\s*\n\s*", " ", drawn[drawn.index("<svg") :]).strip().replace("> <", "><")


def is_drawable(figure: Figure) -> bool:
    return all(trace.type == "scatter" for trace in figure.data)


def shown(text: str | None) -> str:
    """The letters that plotly shows of a text: without its tags, and with a mark for what XML forbids."""
    plain = html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"<br\s*/?>", " ", text or "")))
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in plain)


def _draw(figure: Figure, axes: Any) -> None:
    axes.figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    for trace in figure.data:
        _draw_trace(trace, axes)
    axes.set_title(shown(figure.layout.title.text), loc="left", fontweight="bold")
    for axis, given in ((axes.xaxis, figure.layout.xaxis), (axes.yaxis, figure.layout.yaxis)):
        axis.set_label_text(shown(given.title.text))
        if given.tickvals is not None:
            axis.set_ticks(list(given.tickvals), [shown(str(text)) for text in given.ticktext or given.tickvals])
        else:
            axis.set_major_formatter(lambda value, _: number(round(value, 10)))
        if given.type == "log":
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
            axis.set_major_formatter(lambda value, _: number(round(value, 10)))
        if given.range is not None:
            (axes.set_xlim if axis is axes.xaxis else axes.set_ylim)(*given.range)
        if given.showgrid is False:
            axis.grid(False)
    for shape in figure.layout.shapes:
        if shape.type == "line" and shape.x0 == shape.x1:
            axes.axvline(shape.x0, **_stroke(shape.line))
    for note in figure.layout.annotations:
        inside = {"x domain": "axes fraction", "paper": "axes fraction", "y domain": "axes fraction"}
        axes.annotate(
            shown(note.text), (note.x, note.y), xycoords=(inside.get(note.xref, "data"), inside.get(note.yref, "data")),
            ha=note.xanchor or "center", va={"middle": "center"}.get(note.yanchor, note.yanchor) or "center",
            color=_colour(note.font.color), annotation_clip=False,
        )  # fmt: skip


def _draw_trace(trace: Any, axes: Any) -> None:
    colour = _colour(trace.line.color or trace.marker.color)
    if trace.fill == "toself":
        axes.fill(trace.x, trace.y, color=_colour(trace.fillcolor), alpha=trace.opacity, linewidth=0)
        return
    mode, symbol = trace.mode or "lines+markers", str(trace.marker.symbol or "circle")
    for name, axis in (("xerr", trace.error_x), ("yerr", trace.error_y)):
        if axis.array is not None:
            reach = {name: [axis.array if axis.arrayminus is None else axis.arrayminus, axis.array]}
            axes.errorbar(trace.x, trace.y, fmt="none", ecolor=colour, elinewidth=1.2, capsize=3, **reach)
    axes.plot(
        trace.x, trace.y, label=shown(trace.name) if trace.name and trace.showlegend is not False else None,
        alpha=trace.opacity, color=colour, linewidth=0.75 * (trace.line.width or 2),
        linestyle=_STYLES.get(trace.line.dash, "-") if "lines" in mode else "",
        marker=_SYMBOLS.get(symbol, "o") if "markers" in mode else "", markersize=0.75 * (trace.marker.size or 6),
        markerfacecolor="none" if symbol.endswith("-open") else colour,
    )  # fmt: skip


def _stroke(line: Any) -> dict[str, Any]:
    style = _STYLES.get(line.dash, "-")
    return {"color": _colour(line.color), "linewidth": 0.75 * (line.width or 2), "linestyle": style}


def _colour(colour: str | None) -> Any:
    """A colour as plotly writes it, as matplotlib reads it."""
    channels = re.findall(r"[\d.]+", colour or "") if (colour or "").startswith("rgb") else []
    return [float(c) / (255 if at < 3 else 1) for at, c in enumerate(channels)] if channels else colour or INK
