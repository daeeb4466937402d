"""The pictures of a comparison: learning curves against student samples, accuracy against temperature, differences.

An arm has the same colour in all of them. Arms with the most seeds are drawn strong, with bands; others are thin.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from omniopd.evaluation.compare import Interval
from omniopd.reports.comparison.arms import Arm
from omniopd.reports.comparison.forest import Forest, forest
from omniopd.reports.comparison.results import Comparison
from omniopd.reports.figures import Chart, Series

RIGHT = "right, percent"
BANDS = 6  # more of them cover each other: the reference's alone is left


def pictures(comparison: Comparison) -> list[Chart | Forest]:
    """Learning curves where something was measured on the way, the differences, temperatures; what has no point is left
    out."""
    made: list[Chart | Forest] = []
    curves = learning_curves(comparison)
    if any(len(xs) > 1 for xs, _ in curves.series.values()):
        made.append(curves)
    differences = forest(comparison)
    if differences.rows:
        made.append(differences)
    made.append(temperatures(comparison))
    between = while_training(comparison)
    return [*made, between] if between is not None else made


def learning_curves(comparison: Comparison) -> Chart:
    """Accuracy at the best temperature against student samples; bands are 95% over seeds (over problems where
    these show no spread)."""
    frame = comparison.curve()
    rows = [(str(a), float(x), Interval(m, low, high, 0.95, 0)) for a, x, m, low, high, _ in frame.itertuples(False)]
    return _chart(
        comparison, "Accuracy while learning, at each student's best temperature", rows, "student samples",
        tuple(sorted({x for _, x, _ in rows})),
    )  # fmt: skip


def temperatures(comparison: Comparison) -> Chart:
    """Accuracy of the trained students against temperature, with the same bands."""
    rows = [
        (arm.name, t, found)
        for arm in comparison.arms
        for t in sorted(arm.seeds[0].after)
        if (found := comparison.accuracy(arm, arm.budgets[-1], t)) is not None
    ]
    marks = tuple(sorted({t for _, t, _ in rows}))
    return _chart(comparison, "Accuracy after training, by temperature", rows, "temperature", marks)


def while_training(comparison: Comparison) -> Chart | None:
    """The smaller evaluations of `evaluation.every`, at the hottest temperature and on fewer problems; None without."""
    faint = _faint(comparison.arms)
    if not any(one.between for arm in comparison.arms for one in arm.seeds):
        return None
    ordered = sorted(comparison.arms, key=lambda arm: arm.name in faint)
    series = {arm.name: _between(arm) for arm in ordered}
    return Chart(
        "On fewer problems while training, at the hottest temperature", series, "student samples", RIGHT,
        faint=faint,
    )  # fmt: skip


def _between(arm: Arm) -> tuple[list[float], list[float]]:
    found: dict[int, list[float]] = {}
    for one in arm.seeds:
        hottest = max(one.after)
        for measured in one.between:
            if measured.temperature == hottest:
                found.setdefault(measured.step * one.recipe.training.rollouts, []).append(100 * measured.accuracy)
    return [float(samples) for samples in sorted(found)], [mean(found[samples]) for samples in sorted(found)]


def _chart(
    comparison: Comparison,
    title: str,
    rows: Sequence[tuple[str, float, Interval]],
    x_label: str,
    marks: tuple[float, ...],
) -> Chart:
    faint = _faint(comparison.arms)
    strong = [arm.name for arm in comparison.arms if arm.name not in faint]
    # The strong ones first: they get the colours that are told apart best, and no dashes.
    series: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in (*strong, *faint)}
    spread: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in series}
    for name, x, found in rows:
        for kept, pair in ((series, (x, 100 * found.mean)), (spread, (100 * found.low, 100 * found.high))):
            kept[name][0].append(pair[0])
            kept[name][1].append(pair[1])
    bands: Series = {name: spread[name] for name in (strong if len(strong) <= BANDS else strong[:1])}
    height = max(340, 130 + 15 * len(series))
    return Chart(title, series, x_label, RIGHT, bands, faint, marks if len(marks) <= 8 else (), height)


def _faint(arms: Sequence[Arm]) -> tuple[str, ...]:
    """Arms with fewer seeds than the one with the most; never the reference."""
    most = max(len(arm.seeds) for arm in arms)
    return tuple(arm.name for arm in arms[1:] if len(arm.seeds) < most)
