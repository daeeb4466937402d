"""A line chart that shows everywhere: plotly in JupyterLab, a static picture (SVG) in a page or on a hub.

    Chart("Loss", {"loss": ([1, 2, 3], [.9, .5, .4])}, "step", "nats")

Names stand beside the ends of their lines. The SVG is text made here, everything escaped, without scripts and without
times. Knows numbers, no records.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Told apart by the colour-blind too, and on paper: after eight lines they come again, dashed.
COLOURS = ("#2f62a8", "#d2601a", "#1f8a63", "#a3489a", "#8a6d00", "#1794b8", "#b3303b", "#5b6770")
DASHES = ("", "7 3", "2 3")
WIDTH, HEIGHT = 640, 300
_LEFT, _TOP, _BOTTOM = 58, 38, 46
_LINE, _LETTER, _LONGEST = 14, 6.3, 30  # height of a name, width of a letter, letters of a name that are shown

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines by name, each a pair of x and y values; points that are not finite are left out.

    `spread` gives a line the lower and upper ends of its values, drawn as a band. Lines in `faint` are thin. `x_marks`
    are the places on the x axis that get a number (round ones by default).
    """

    title: str
    series: Series
    x_label: str
    y_label: str
    spread: Series = field(default_factory=dict)
    faint: tuple[str, ...] = ()
    x_marks: tuple[float, ...] = ()
    height: int = HEIGHT

    def __repr__(self) -> str:
        return f"Chart({self.title!r}: {', '.join(self.series)})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"application/vnd.plotly.v1+json": self.plotly(), "image/svg+xml": self.svg(), "text/plain": repr(self)}

    def plotly(self) -> dict[str, Any]:
        """The figure as plotly's JSON; a band becomes whiskers."""
        data = []
        for name, points, colour, dash in self._lines():
            line = {"color": colour, "width": 1 if name in self.faint else 2}
            trace: dict[str, Any] = {
                "type": "scatter", "mode": "lines+markers", "name": name, "x": [p[0] for p in points],
                "y": [p[1] for p in points], "line": line | ({"dash": dash.replace(" ", "px,") + "px"} if dash else {}),
                "marker": {"size": 5},
            }  # fmt: skip
            ends = {x: (low, high) for x, low, high in self._ends(name)}
            if ends and len(ends) == len(points):
                trace["error_y"] = {
                    "type": "data", "symmetric": False, "array": [ends[x][1] - y for x, y in points],
                    "arrayminus": [y - ends[x][0] for x, y in points], "thickness": 1,
                }  # fmt: skip
            data.append(trace)
        layout = {
            "title": {"text": self.title}, "xaxis": {"title": {"text": self.x_label}},
            "yaxis": {"title": {"text": self.y_label}}, "width": WIDTH, "height": self.height,
            "margin": {"l": 64, "r": 16, "t": 50, "b": 44}, "template": "none",
        }  # fmt: skip
        return {"data": data, "layout": layout}

    def svg(self) -> str:
        """The figure as a static picture."""
        lines = self._lines()
        points = [p for _, line, _, _ in lines for p in line] or [(0.0, 0.0)]
        ends = [(x, y) for name in self.series for x, low, high in self._ends(name) for y in (low, high)]
        x_ticks = list(self.x_marks) or ticks(min(x for x, _ in points), max(x for x, _ in points))
        low, high = min(x_ticks[0], *(x for x, _ in points)), max(x_ticks[-1], *(x for x, _ in points))
        y_ticks = ticks(min(y for _, y in points + ends), max(y for _, y in points + ends))
        right = WIDTH - 22 - _LETTER * max((len(shortened(name)) for name in self.series), default=0)
        bottom = self.height - _BOTTOM

        def at(x: float, y: float) -> Point:
            across = (x - low) / (high - low or 1.0)
            up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
            return round(_LEFT + across * (right - _LEFT), 1), round(bottom - up * (bottom - _TOP), 1)

        parts = [words(_LEFT, 18, self.title, "start", weight="bold")]
        for y in y_ticks:
            place = at(low, y)[1]
            parts.append(f'<line x1="{_LEFT}" y1="{place}" x2="{round(right, 1)}" y2="{place}" stroke="#e3e3e3"/>')
            parts.append(words(_LEFT - 7, place + 4, number(y), "end"))
        for x in x_ticks:
            across = at(x, y_ticks[0])[0]
            parts.append(f'<line x1="{across}" y1="{bottom}" x2="{across}" y2="{bottom + 4}" stroke="#888"/>')
            parts.append(words(across, bottom + 17, number(x)))
        parts.append(words((_LEFT + right) / 2, self.height - 8, self.x_label))
        middle = round((_TOP + bottom) / 2, 1)
        parts.append(f'<g transform="rotate(-90 14 {middle})">{words(14, middle, self.y_label)}</g>')
        parts += [self._band(name, colour, at) for name, _, colour, _ in lines]
        parts += [self._line(name, [at(*p) for p in line], colour, dash) for name, line, colour, dash in lines]
        parts += self._names(lines, at, right, bottom)
        label = f"{self.title}: {', '.join(self.series)} by {self.x_label}"
        return picture(WIDTH, self.height, label, parts)

    def _band(self, name: str, colour: str, at: Any) -> str:
        ends = self._ends(name)
        if len(ends) < 2 or name in self.faint:
            return ""
        edge = [at(x, high) for x, _, high in ends] + [at(x, low) for x, low, _ in reversed(ends)]
        return f'<polygon points="{_places(edge)}" fill="{colour}" fill-opacity="0.13"/>'

    def _line(self, name: str, places: list[Point], colour: str, dash: str) -> str:
        thin = name in self.faint
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        stroke = f'stroke="{colour}" stroke-width="{1 if thin else 2}"{dashed}'
        dots = [f'<circle cx="{x}" cy="{y}" r="{1.6 if thin else 2.8}" fill="{colour}"/>' for x, y in places]
        opacity = ' opacity="0.75"' if thin else ""
        return f'<g{opacity}><polyline points="{_places(places)}" fill="none" {stroke}/>{"".join(dots)}</g>'

    def _names(self, lines: list[Any], at: Any, right: float, bottom: float) -> list[str]:
        """Each name beside the end of its line, moved where two would cover each other."""
        ended = sorted(((at(*line[-1])[1], name, colour, at(*line[-1])[0]) for name, line, colour, _ in lines if line))
        wanted = spaced([y for y, *_ in ended], _LINE, _TOP, bottom)
        parts = []
        for (y, name, colour, x), place in zip(ended, wanted, strict=True):
            parts.append(
                f'<polyline points="{x + 4},{y} {round(right + 8, 1)},{round(place, 1)}" fill="none" '
                f'stroke="{colour}" stroke-width="0.6" opacity="0.6"/>'
            )
            weight = "normal" if name in self.faint else "600"
            parts.append(words(right + 11, place + 4, shortened(name), "start", weight, colour))
        return parts

    def _lines(self) -> list[tuple[str, list[Point], str, str]]:
        """(name, finite points, colour, dash) of each line."""
        found = []
        for index, (name, (xs, ys)) in enumerate(self.series.items()):
            pairs = zip(xs, ys, strict=True)
            points = [(float(x), float(y)) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
            again, colour = divmod(index, len(COLOURS))
            found.append((name, points, COLOURS[colour], DASHES[again % len(DASHES)]))
        return found

    def _ends(self, name: str) -> list[tuple[float, float, float]]:
        """(x, low, high) where both are finite."""
        if name not in self.spread or name not in self.series:
            return []
        triples = zip(self.series[name][0], *self.spread[name], strict=True)
        return [(float(x), float(a), float(b)) for x, a, b in triples if math.isfinite(a) and math.isfinite(b)]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover low…high, about `count` of them; they are the axis."""
    if high - low < 1e-8:  # less than the ticks can tell apart
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw - 1e-12)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def spaced(places: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Ascending places moved as little as need be to stand `apart` within low…high (closer, where they do not fit)."""
    if not places:
        return []
    apart = min(apart, (high - low) / max(1, len(places) - 1))
    blocks: list[tuple[float, int]] = []  # (where its first one would stand, how many): neighbours that touch are one
    for index, place in enumerate(places):
        start, count = place - index * apart, 1
        while blocks and blocks[-1][0] > start:
            before, many = blocks.pop()
            start, count = (before * many + start * count) / (many + count), many + count
        blocks.append((start, count))
    starts = [start for start, count in blocks for _ in range(count)]
    highest = high - (len(places) - 1) * apart
    return [min(max(start, low), highest) + index * apart for index, start in enumerate(starts)]


def picture(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    """Elements as one SVG, on white, with a description."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    body = f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(parts)}'
    return f'{head} role="img" aria-label="{plain(label)}" font-family="sans-serif" font-size="12">{body}</svg>'


def words(
    x: float, y: float, said: str, anchor: str = "middle", weight: str = "normal", fill: str = "#333", size: int = 12
) -> str:
    """A text element."""
    bigger = "" if size == 12 else f' font-size="{size}"'
    return (
        f'<text x="{round(x, 1)}" y="{round(y, 1)}" text-anchor="{anchor}" font-weight="{weight}" fill="{fill}"'
        f"{bigger}>{plain(said)}</text>"
    )


def plain(said: str) -> str:
    """Text as XML may hold it: escaped, and a mark for each letter that XML forbids."""
    return html.escape("".join(c if c.isprintable() else "\ufffd" for c in said))


def number(value: float) -> str:
    """Thousands in groups, a true minus."""
    shown = f"{value:,.0f}" if abs(value) >= 1000 and float(value).is_integer() else f"{value:g}"
    return shown.replace("-", "−")


def shortened(name: str) -> str:
    """The beginning and the end of a long name: names that settings tell apart differ there."""
    return name if len(name) <= _LONGEST else f"{name[:12]}…{name[13 - _LONGEST :]}"


def _places(points: Sequence[Point]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
