"""Lines with bands: most of the figures here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from omniopd.figures.figure import COLOURS, Figure, inert, shortened
from omniopd.figures.ink import number

DASHES = ("solid", "dash", "dot")  # after as many lines as there are colours these come again, dashed
DOTS = 24  # points of a line that are marked; more of them are a line by themselves

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
        whole = list(zip(xs, ys, *(spread or {}).get(name, ()), strict=True))
        points = [point for point in whole if all(map(math.isfinite, point[:2]))]
        band = [point for point in whole if len(point) == 4 and all(map(math.isfinite, point))]
        if not points:
            continue
        if len(band) > 1 and not thin:
            figure.add_scatter(
                x=[x for x, *_ in (*band, *reversed(band))], fill="toself", fillcolor=colour, opacity=0.14,
                y=[high for *_, high in band] + [low for _, _, low, _ in reversed(band)], mode="lines", line_width=0,
                hoverinfo="skip", showlegend=False, legendgroup=str(index),
            )  # fmt: skip
        ends = " [%{customdata[0]:.4~g}, %{customdata[1]:.4~g}]" if band == points else ""
        figure.add_scatter(
            x=[x for x, *_ in points], y=[y for _, y, *_ in points], name=inert(shortened(name)),
            mode="lines+markers" if len(points) <= DOTS else "lines",
            customdata=[point[2:] for point in points] if ends else None,
            line={"color": colour, "width": 1 if thin else 2, "dash": DASHES[again % len(DASHES)]},
            marker={"color": colour, "size": 4 if thin else 6}, opacity=0.75 if thin else 1, legendgroup=str(index),
            hovertemplate=f"<b>{inert(name)}</b><br>{inert(x_label)} %{{x:,}}: %{{y:.4~g}}{ends}<extra></extra>",
        )  # fmt: skip
    return figure
