"""A small line chart that shows everywhere: plotly in JupyterLab, a static picture (SVG) in a page or on a hub.

    Chart("Loss", {"loss": ([1, 2, 3], [.9, .5, .4])}, "step", "nats")

The SVG is text made here, everything escaped, without scripts and without times. Knows numbers, no records.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLOURS = ("#3565a9", "#c2571a", "#2e8555", "#8a4fa3", "#7a6a2b", "#5b6770")  # told apart by the colour-blind too
WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 34, 44

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines by name, each a pair of x and y values; points that are not finite are left out."""

    title: str
    series: Series
    x_label: str
    y_label: str

    def __repr__(self) -> str:
        return f"Chart({self.title!r}: {', '.join(self.series)})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"application/vnd.plotly.v1+json": self.plotly(), "image/svg+xml": self.svg(), "text/plain": repr(self)}

    def plotly(self) -> dict[str, Any]:
        """The figure as plotly's JSON."""
        data = [
            {"type": "scatter", "mode": "lines+markers", "name": name, "x": [p[0] for p in points],
             "y": [p[1] for p in points], "line": {"color": colour}, "marker": {"size": 5}}
            for (name, points), colour in self._lines()
        ]  # fmt: skip
        layout = {
            "title": {"text": self.title}, "xaxis": {"title": {"text": self.x_label}},
            "yaxis": {"title": {"text": self.y_label}}, "width": WIDTH, "height": HEIGHT,
            "margin": {"l": _LEFT, "r": _RIGHT, "t": _TOP + 16, "b": _BOTTOM},
            "template": "none",
        }  # fmt: skip
        return {"data": data, "layout": layout}

    def svg(self) -> str:
        """The figure as a static picture."""
        lines = self._lines()
        points = [p for (_, line), _ in lines for p in line] or [(0.0, 0.0)]
        x_ticks = ticks(min(x for x, _ in points), max(x for x, _ in points))
        y_ticks = ticks(min(y for _, y in points), max(y for _, y in points))

        def at(x: float, y: float) -> tuple[float, float]:
            across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
            up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
            right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
            return round(_LEFT + across * (right - _LEFT), 1), round(bottom - up * (bottom - _TOP), 1)

        parts = [_text(_LEFT, 18, self.title, "start", "bold")]
        for y in y_ticks:
            _, place = at(x_ticks[0], y)
            parts.append(f'<line x1="{_LEFT}" y1="{place}" x2="{WIDTH - _RIGHT}" y2="{place}" stroke="#ddd"/>')
            parts.append(_text(_LEFT - 6, place + 4, f"{y:g}", "end"))
        parts += [_text(at(x, y_ticks[0])[0], HEIGHT - _BOTTOM + 16, f"{x:g}") for x in x_ticks]
        parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 8, self.x_label))
        middle = (_TOP + HEIGHT - _BOTTOM) / 2
        parts.append(f'<g transform="rotate(-90 14 {middle})">{_text(14, middle, self.y_label)}</g>')
        legend = WIDTH - _RIGHT
        for (name, line), colour in reversed(lines):
            path = " ".join(f"{px},{py}" for px, py in (at(*p) for p in line))
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{px}" cy="{py}" r="2.5" fill="{colour}"/>' for px, py in (at(*p) for p in line)]
            parts.append(_text(legend, 18, name, "end", fill=colour))
            legend -= 8 * len(name) + 16
        size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}'
        label = html.escape(f"{self.title}: {', '.join(self.series)} by {self.x_label}")
        return f'{head} role="img" aria-label="{label}" font-family="sans-serif" font-size="12">{"".join(parts)}</svg>'

    def _lines(self) -> list[tuple[tuple[str, list[tuple[float, float]]], str]]:
        """((name, finite points), colour) of each line."""
        found = []
        for index, (name, (xs, ys)) in enumerate(self.series.items()):
            pairs = zip(xs, ys, strict=True)
            points = [(float(x), float(y)) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
            found.append(((name, points), COLOURS[index % len(COLOURS)]))
        return found


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover low…high, about `count` of them; they are the axis."""
    if high - low < 1e-8:  # less than the ticks can tell apart
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw - 1e-12)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def _text(x: float, y: float, words: str, anchor: str = "middle", weight: str = "normal", fill: str = "#333") -> str:
    return (
        f'<text x="{round(x, 1)}" y="{round(y, 1)}" text-anchor="{anchor}" font-weight="{weight}" fill="{fill}">'
        f"{html.escape(words)}</text>"
    )
