"""The figures of a comparison. An arm has the same colour in all of them; of the lines, those of arms with fewer seeds
are thin and have no band.

A new figure is a function here and its line in `FIGURES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import mean

from omniopd.evaluation.compare import MARGIN, Interval, shows
from omniopd.figures import COLOURS, Figure, inert, lines, shortened
from omniopd.reports.comparison.arms import Arm
from omniopd.reports.comparison.frontier import points as points_of
from omniopd.reports.comparison.frontier import sheets
from omniopd.reports.comparison.results import Results

RIGHT, TOKENS = "right, percent", "teacher tokens, read and written"
BANDS = 6  # more of them cover each other: the reference's alone is left
REACH = 20.0  # points: the axis of differences goes no farther for the sake of a few, so that −3 and 0 stay apart
_SHOWN = {"better": (COLOURS[0], "circle"), "worse": (COLOURS[1], "circle")}
_NEITHER = "no difference shown", (COLOURS[7], "circle-open")


def learning_curves(results: Results) -> Figure:
    """Accuracy at the best temperature against student samples; bands are 95% over seeds (over problems where
    these show no spread)."""
    frame = results.curve()
    points = [(str(a), float(x), Interval(m, low, high, 0.95, 0)) for a, x, m, low, high, _ in frame.itertuples(False)]
    return _lines(results, "Accuracy while learning, at each student's best temperature", points, "student samples")


def temperatures(results: Results) -> Figure:
    """Accuracy of the trained students against temperature, with the same bands."""
    points = [
        (arm.name, t, found)
        for arm in results.arms
        for t in sorted(arm.seeds[0].after)
        if (found := results.accuracy(arm, arm.budgets[-1], t)) is not None
    ]
    return _lines(results, "Accuracy after training, by temperature", points, "temperature")


def while_training(results: Results) -> Figure:
    """The smaller evaluations of `evaluation.every`, at the hottest temperature and on fewer problems."""
    faint = _faint(results.arms)
    series = {arm.name: _between(arm) for arm in sorted(results.arms, key=lambda arm: arm.name in faint)}
    title = "Accuracy during training (small sample, highest temperature)"
    return lines(title, series, "student samples", RIGHT, faint=faint)


def differences(results: Results, budget: int | None = None) -> Figure:
    """The reference minus each arm at a budget (the reference's last) as a forest, the largest first; arms without a
    difference are left out. Filled dots lie apart from 0, hollow ones do not; an arrow stands where the axis ends and a
    difference lies beyond."""
    budget = results.budgets[-1] if budget is None else budget
    name = results.reference.name
    found = [(arm.name, results.difference(arm, budget)) for arm in results.arms[1:]]
    rows = sorted(
        ((arm, difference) for arm, difference in found if difference is not None),
        key=lambda row: (-row[1].mean, row[0]),
    )
    figure = Figure.titled(
        f"{name} minus each arm at {budget:,} student samples",
        f"{name} is worse  ←  points, best temperature  →  {name} is better", height=130 + 22 * len(rows),
    )  # fmt: skip
    ends = [100 * end for _, d in rows for end in (d.low, d.mean, d.high) if math.isfinite(end)]
    few = 2 * sum(abs(100 * d.mean) > REACH for _, d in rows) <= len(rows)
    reach = REACH if few else math.inf
    low, high = max(-reach, min([-2 - 100 * MARGIN, *ends])), min(reach, max([2.0, *ends]))
    kinds: dict[str, list[int]] = {}
    for row, (_, difference) in enumerate(rows):
        kind = shows(difference).partition(",")[0]
        kinds.setdefault(kind if kind in _SHOWN else _NEITHER[0], []).append(row)
    for kind, places in kinds.items():
        colour, symbol = _SHOWN.get(kind, _NEITHER[1])
        shown = [rows[row][1] for row in places]
        figure.add_scatter(
            x=[100 * found.mean for found in shown], y=[-row for row in places], name=kind, mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 9}, legendgroup=kind, hoverinfo="text",
            hovertext=[f"<b>{inert(rows[row][0])}</b><br>{_said(rows[row][1])}" for row in places],
            error_x={
                "array": [100 * (f.high - f.mean) if math.isfinite(f.high) else 0 for f in shown],
                "arrayminus": [100 * (f.mean - f.low) if math.isfinite(f.low) else 0 for f in shown],
                "color": colour, "thickness": 1.5,
            },
        )  # fmt: skip
        for side, edge, sign in (("left", low, -1), ("right", high, 1)):
            beyond = [-row for row in places if sign * (100 * rows[row][1].mean - edge) > 0]
            if beyond:
                figure.add_scatter(
                    x=[edge] * len(beyond), y=beyond, mode="markers", legendgroup=kind, showlegend=False,
                    marker={"color": colour, "symbol": f"triangle-{side}", "size": 11}, hoverinfo="skip",
                )  # fmt: skip
    figure.add_vline(0, line={"color": COLOURS[7], "width": 1.5})
    figure.add_vline(-100 * MARGIN, line={"color": COLOURS[0], "width": 1.5, "dash": "dash"})
    for row, (_, difference) in enumerate(rows):
        place = {"x": 1.01, "xref": "paper", "xanchor": "left", "y": -row, "yanchor": "middle"}
        figure.add_annotation(text=_said(difference), showarrow=False, **place)
    names = [inert(shortened(arm)) for arm, _ in rows]
    figure.update_xaxes(range=[low - 0.7, high + 0.7])
    figure.update_yaxes(tickvals=[-row for row in range(len(rows))], ticktext=names, showgrid=False)
    return figure.update_yaxes(range=[0.6 - len(rows), 0.6]).update_layout(
        margin={"r": 160}, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"}
    )


def by_tokens(results: Results) -> Figure:
    """Accuracy at the best temperature against everything that the teacher read and wrote."""
    found = [(p.arm, p.tokens, p.best) for p in points_of(results) if p.tokens]
    return _lines(results, "What accuracy costs in the teacher's tokens", found, TOKENS, log=True)


def by_dollars(results: Results) -> Figure:
    """The same against dollars, by the first of the price sheets; logits are nowhere for sale."""
    sheet, price = sheets()[0]
    found = [(p.arm, p.usd(price), p.best) for p in points_of(results) if p.written]
    return _lines(results, f"What accuracy costs, at the prices of {sheet}", found, "dollars", log=True)


FIGURES: dict[str, Callable[[Results], Figure]] = {
    "learning": learning_curves, "differences": differences, "temperatures": temperatures, "training": while_training,
    "tokens": by_tokens, "dollars": by_dollars,
}  # fmt: skip


def figures(results: Results) -> dict[str, Figure]:
    """All that have something to show, by name; curves of budgets where something was measured on the way."""
    made = {name: draw(results) for name, draw in FIGURES.items()}
    for name in ("learning", "tokens", "dollars"):
        if all(len(trace.x) < 2 for trace in made[name].data):
            del made[name]
    return {name: figure for name, figure in made.items() if figure.data}


def _between(arm: Arm) -> tuple[list[float], list[float]]:
    found: dict[int, list[float]] = {}
    for one in arm.seeds:
        hottest = max(one.after)
        for measured in one.between:
            if measured.temperature == hottest:
                found.setdefault(measured.step * one.recipe.training.rollouts, []).append(100 * measured.accuracy)
    return [float(samples) for samples in sorted(found)], [mean(found[samples]) for samples in sorted(found)]


def _lines(
    results: Results, title: str, points: Sequence[tuple[str, float, Interval]], x_label: str, log: bool = False
) -> Figure:
    """One line an arm. The strong ones first: they get the colours that are told apart best, and no dashes."""
    faint = _faint(results.arms)
    strong = [arm.name for arm in results.arms if arm.name not in faint]
    own = {name: [(x, found) for arm, x, found in points if arm == name] for name in (*strong, *faint)}
    series = {name: ([x for x, _ in part], [100 * found.mean for _, found in part]) for name, part in own.items()}
    spread = {
        name: ([100 * found.low for _, found in own[name]], [100 * found.high for _, found in own[name]])
        for name in (strong if len(strong) <= BANDS else strong[:1])
    }
    marks = [] if log else sorted({x for _, x, _ in points})
    height = max(340, 130 + 15 * len(series))
    figure = lines(title, series, x_label, RIGHT, spread, faint, marks if len(marks) <= 8 else (), height)
    return figure.update_xaxes(type="log") if log else figure


def _faint(arms: Sequence[Arm]) -> tuple[str, ...]:
    """Arms with fewer seeds than the one with the most; never the reference."""
    most = max(len(arm.seeds) for arm in arms)
    return tuple(arm.name for arm in arms[1:] if len(arm.seeds) < most)


def _said(found: Interval) -> str:
    if not math.isfinite(found.low):
        return f"{100 * found.mean:+.1f}, {found.undetermined}".replace("-", "−")
    return f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]".replace("-", "−")
