"""Lines with bands: most of the figures here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from omniopd.figures.figure import COLOURS, Figure, inert, number, shortened

DASHES = ("solid", "dash", "dot")  # after as many lines as there are colours these come again, dashed

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def lines(
    title: str,
    series: Series,
    x_label: str,
    y_label: str,
    spread: Series | None = None,
    faint: Sequence[str] = (),
    x_marks: Sequence[float] = (),
    height: int = 300,
) -> Figure:
    """Lines by name, each a pair of x and y values; points that are not finite are left out, and lines without any.

    `spread` gives a line the lower and upper ends of its values, drawn as a band. Lines in `faint` are thin. `x_marks`
    are the places on the x axis that get a number.
    """
    figure = Figure.titled(title, x_label, y_label, height)
    if x_marks:
        figure.update_xaxes(tickvals=list(x_marks), ticktext=[number(mark) for mark in x_marks])
    for index, (name, (xs, ys)) in enumerate(series.items()):
        again, at = divmod(index, len(COLOURS))
        colour, thin = COLOURS[at], name in faint
        ends = zip(*(spread or {}).get(name, ([math.nan] * len(xs),) * 2), strict=True)
        points = [
            (float(x), float(y), float(low), float(high))
            for x, y, (low, high) in zip(xs, ys, ends, strict=True)
            if math.isfinite(x) and math.isfinite(y)
        ]
        if not points:
            continue
        band = [point for point in points if math.isfinite(point[2]) and math.isfinite(point[3])]
        if len(band) > 1 and not thin:
            there_and_back = [(x, high) for x, _, _, high in band] + [(x, low) for x, _, low, _ in reversed(band)]
            figure.add_scatter(
                x=[x for x, _ in there_and_back], y=[y for _, y in there_and_back], fill="toself", fillcolor=colour,
                opacity=0.14, mode="lines", line_width=0, hoverinfo="skip", showlegend=False, legendgroup=str(index),
            )  # fmt: skip
        figure.add_scatter(
            x=[x for x, *_ in points], y=[y for _, y, *_ in points], name=inert(shortened(name)), mode="lines+markers",
            line={"color": colour, "width": 1 if thin else 2, "dash": DASHES[again % len(DASHES)]},
            marker={"color": colour, "size": 4 if thin else 6}, opacity=0.75 if thin else 1, legendgroup=str(index),
            hoverinfo="text", hovertext=[_said(name, x_label, *point) for point in points],
        )  # fmt: skip
    return figure


def _said(name: str, x_label: str, x: float, y: float, low: float, high: float) -> str:
    ends = f" [{number(round(low, 4))}, {number(round(high, 4))}]" if math.isfinite(low) else ""
    return f"<b>{inert(name)}</b><br>{inert(x_label)} {number(x)}: {number(round(y, 4))}{ends}"
