"""Differences to the reference as a forest: a dot and its interval an arm, sorted, beside 0 and the −3 of "not worse".

The picture says by form as well as by colour what an interval shows: filled dots lie apart from 0, hollow ones do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from omniopd.evaluation.compare import MARGIN, Interval, shows
from omniopd.reports.comparison.results import Comparison
from omniopd.reports.figures import WIDTH, number, picture, shortened, ticks, words

BETTER, WORSE, NEITHER = "#2f62a8", "#d2601a", "#666"
REACH = 20.0  # points: the axis goes no farther, and what lies beyond becomes an arrow, so that −3 and 0 stay apart
_ROW, _TOP, _BOTTOM = 21, 52, 48


@dataclass(frozen=True, slots=True)
class Forest:
    """Rows of (arm, difference in points' hundredths), as `forest` makes them; shows itself in notebooks."""

    title: str
    label: str
    rows: tuple[tuple[str, Interval], ...]

    def __repr__(self) -> str:
        return f"Forest({self.title!r}: {', '.join(name for name, _ in self.rows)})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"image/svg+xml": self.svg(), "text/plain": repr(self)}

    def svg(self) -> str:
        """The figure as a static picture, which runs and loads nothing."""
        left = 24 + 6.4 * max((len(shortened(name)) for name, _ in self.rows), default=0)
        right, bottom = WIDTH - 130, _TOP + _ROW * len(self.rows)
        every = [100 * value for _, found in self.rows for value in (found.low, found.mean, found.high)]
        ends = [value for value in every if math.isfinite(value)]
        marks = ticks(max(-REACH, min([-2 - 100 * MARGIN, *ends])), min(REACH, max([2.0, *ends])), 6)

        def at(points: float) -> float:
            inside = min(max(points, marks[0]), marks[-1])
            return round(left + (inside - marks[0]) / (marks[-1] - marks[0]) * (right - left), 1)

        parts = [words(16, 18, self.title, "start", weight="bold")]
        for mark in marks:
            parts.append(_upright(at(mark), _TOP - 4, bottom, "#e8e8e8"))
            parts.append(words(at(mark), bottom + 16, number(mark)))
        parts.append(_upright(at(0), _TOP - 4, bottom, "#333", 1.2))
        margin = -100 * MARGIN
        parts.append(_upright(at(margin), _TOP - 4, bottom, BETTER, 1, "4 3"))
        parts.append(words(at(margin), _TOP - 10, number(margin), "end", fill=BETTER, size=11))
        parts.append(words(at(0), _TOP - 10, "0", "start", size=11))
        for row, (name, found) in enumerate(self.rows):
            y = _TOP + _ROW * row + _ROW / 2
            parts.append(words(left - 10, y + 4, shortened(name), "end"))
            parts.append(_arrow(found, y, at, marks) or _dot(found, y, at))
            parts.append(words(WIDTH - 8, y + 4, _said(found), "end", size=11))
        parts.append(words((left + right) / 2, bottom + 36, self.label))
        heights = bottom + _BOTTOM
        return picture(WIDTH, heights, f"{self.title}: {'; '.join(f'{n} {_said(f)}' for n, f in self.rows)}", parts)


def forest(comparison: Comparison, budget: int | None = None) -> Forest:
    """The reference minus each arm at a budget (the reference's last), largest first; arms without one are left out."""
    budget = comparison.budgets[-1] if budget is None else budget
    found = [(arm.name, comparison.difference(arm, budget)) for arm in comparison.arms[1:]]
    rows = [(name, difference) for name, difference in found if difference is not None]
    name = comparison.reference.name
    return Forest(
        f"{name} minus each arm at {budget:,} student samples",
        f"{name} is worse  ←  points, best temperature  →  {name} is better",
        tuple(sorted(rows, key=lambda row: (-row[1].mean, row[0]))),
    )


def _dot(found: Interval, y: float, at: Any) -> str:
    colour = {"better": BETTER, "worse": WORSE}.get(shows(found).partition(",")[0], NEITHER)
    ends = (found.low, found.high) if math.isfinite(found.low) else (found.mean, found.mean)
    low, mean, high = (at(100 * value) for value in (ends[0], found.mean, ends[1]))
    caps = "".join(
        f'<line x1="{x}" y1="{y - 4}" x2="{x}" y2="{y + 4}" stroke="{colour}" stroke-width="1.5"/>' for x in (low, high)
    )
    fill = "#fff" if colour == NEITHER else colour
    return (
        f'<line x1="{low}" y1="{y}" x2="{high}" y2="{y}" stroke="{colour}" stroke-width="1.5"/>{caps}'
        f'<circle cx="{mean}" cy="{y}" r="4" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'
    )


def _arrow(found: Interval, y: float, at: Any, marks: list[float]) -> str:
    """An arrowhead at the edge for a mean beyond it; empty for one within."""
    mean = 100 * found.mean
    if marks[0] <= mean <= marks[-1]:
        return ""
    edge, back, colour = at(mean), 9 if mean < 0 else -9, BETTER if mean > 0 else WORSE
    return f'<polygon points="{edge},{y} {edge + back},{y - 5} {edge + back},{y + 5}" fill="{colour}"/>'


def _upright(x: float, top: float, bottom: float, colour: str, width: float = 1, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x}" y1="{top}" x2="{x}" y2="{bottom}" stroke="{colour}" stroke-width="{width}"{dashed}/>'


def _said(found: Interval) -> str:
    if not math.isfinite(found.low):
        return f"{100 * found.mean:+.1f}, {found.undetermined}".replace("-", "−")
    return f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]".replace("-", "−")
