"""A comparison as tables: everything for a file, what fits a page, and GitHub's Markdown for a README or a log.

Accuracies in percent with 95% intervals, over seeds, or over problems where seeds show no spread. Deterministic: the
same runs give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas

from omniopd.config import METHODS, Recipe
from omniopd.evaluation.compare import Interval, pooled_interval, shows
from omniopd.evaluation.tables import NOTHING
from omniopd.io.markdown import cell, code, plain
from omniopd.io.units import dollars
from omniopd.reports.comparison.arms import Arm
from omniopd.reports.comparison.cost import cost_of
from omniopd.reports.comparison.frontier import frontier, sheets
from omniopd.reports.comparison.results import Results

TOTALS = {
    "updates": "updates", "student tokens": "student_tokens", "teacher calls": "calls", "teacher read": "teacher_read",
    "of it cached": "teacher_cached", "teacher written": "teacher_written", "usd": "usd", "seconds": "seconds",
}  # fmt: skip
ENTROPY = "entropy, nats"
PAPER = "teacher cost, answers per rollout"
COSTS = (*TOTALS, PAPER)


def table(comparison: Results) -> pandas.DataFrame:
    """One row an arm, the best first: method, seeds, accuracies by budget, difference and verdict, means of the costs.

    Numbers, in percent or points: where an interval belongs to one, in three columns, "… mean", "… low" and "… high"
    (NaN: not measured, or no interval). `reference minus this` and `verdict` are those of the last budget both have.
    """
    rows = [_row(comparison, arm) for arm in comparison.ranked()]
    return pandas.DataFrame(map(_in_columns, rows)).set_index("arm")


def shown_table(comparison: Results) -> pandas.DataFrame:
    """The table as text, an interval in one cell: "52.1 [50.0, 54.2]"."""
    rows = [_row(comparison, arm) for arm in comparison.ranked()]
    shown = [{k: _shown(v) if isinstance(v, Interval | None) else v for k, v in row.items()} for row in rows]
    return pandas.DataFrame(shown).set_index("arm")


def differences(comparison: Results) -> pandas.DataFrame:
    """The reference minus each other arm, one row an arm and budget: arm, samples, mean, low, high (points), units and
    what they are, verdict."""
    rows = [
        (arm.name, budget, *_points(found), found.units, found.unit, short_verdict(found))
        for arm in comparison.arms[1:]
        for budget in comparison.budgets
        if (found := comparison.difference(arm, budget)) is not None
    ]
    names = ["arm", "samples", "mean", "low", "high", "units", "unit", "verdict"]
    types = {"samples": "int64", "mean": "float64", "low": "float64", "high": "float64", "units": "int64"}
    types |= dict.fromkeys(["arm", "unit", "verdict"], "str")
    return pandas.DataFrame(rows, columns=names).astype(types)


def summary(comparison: Results, beside: Sequence[str] = ()) -> pandas.DataFrame:
    """What a reader looks for first, as text: one row an arm, the best first.

    Differences are those of the last budget both have: the reference minus this arm, with its verdict; or, with names
    of arms, this one minus each of them. Raises DataError for a name that is not that of an arm.
    """
    others = [comparison.arm(name) for name in beside]

    def shown_differences(arm: Arm) -> dict[str, str]:
        if others:
            return {
                f"minus {other.name}": "" if arm is other else _shown(comparison.difference(other, ours=arm))
                for other in others
            }
        own, found = arm is comparison.reference, comparison.difference(arm)
        return {
            f"{comparison.reference.name} minus this": "" if own else _shown(found),
            "verdict": "" if own else short_verdict(found),
        }

    def row(arm: Arm) -> dict[str, str]:
        took = _mean_totals(arm)
        return {
            "arm": arm.name,
            "learns from": learns_from(arm.seeds[0].recipe),
            "seeds": str(len(arm.seeds)),
            **{f"{budget:,} samples": _shown(comparison.accuracy(arm, budget)) for budget in comparison.budgets},
            "at temperature 1": _shown(comparison.accuracy(arm, arm.budgets[-1], 1.0)),
            **_entropy(arm),
            **shown_differences(arm),
            "teacher tokens": short_number(took["teacher read"] + took["teacher written"]),
        }

    return pandas.DataFrame(map(row, comparison.ranked())).set_index("arm")


def costs(comparison: Results) -> pandas.DataFrame:
    """What a run of each arm took, mean over its seeds, as text."""
    frame = table(comparison)
    return frame[[name for name in frame.columns if name in COSTS]].map(short_number)


def markdown(comparison: Results, beside: Sequence[str] = ()) -> str:
    """The summary and every sentence, as GitHub's Markdown; names are code, so that they stay words."""
    frame = summary(comparison, beside)
    left = {"learns from", "verdict"}
    rows = [["arm", *map(cell, frame.columns)]]
    rows.append(["---", *("---" if name in left else "---:" for name in frame.columns)])
    rows += [[code(name), *map(cell, frame.loc[name])] for name in frame.index]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", f"Right answers in percent at each student's best temperature, {_intervals(comparison)}."]
    lines += ["Entropy is that of the answers at temperature 1, a token."] * (ENTROPY in frame)
    untrained = comparison.accuracy(comparison.reference, 0)
    lines += [f"Untrained: {_shown(untrained)}."] * (untrained is not None)
    lines += ["", *(f"- {plain(sentence)}" for sentence in (*comparison.verdicts(), *comparison.shares()))]
    for name in beside:
        lines += ["", *(f"- {plain(sentence)}" for sentence in comparison.verdicts(name))]
    if comparison.problems:
        lines += ["", "Left out, or missing:", "", *(f"- {plain(sentence)}" for sentence in comparison.problems)]
    lines += ["", *_frontier(comparison)]
    return "\n".join(lines) + "\n"


def _frontier(comparison: Results) -> list[str]:
    """What accuracy costs, as Markdown, and the price sheets it says."""
    frame = frontier(comparison)
    if frame.empty:
        return []
    shown = frame.drop(columns=["low", "high"]).map(lambda value: short_number(value) if value == value else NOTHING)
    rows = [[*map(cell, shown.columns)], ["---", *["---:"] * (len(shown.columns) - 1)]]
    rows += [[code(row[0]), *map(cell, row[1:])] for row in shown.itertuples(index=False)]
    million = [
        f"{name} reads a million tokens for {dollars(1e6 * price.input_usd)}, cached ones for "
        f"{dollars(1e6 * (price.cached_usd or price.input_usd))}, and writes them for {dollars(1e6 * price.output_usd)}"
        for name, price in sheets()
    ]
    prices = (
        f"Prices: {'; '.join(million)}. Of a teacher that runs here the least that its texts can cost is counted: each "
        "is left at its first difference, and what was read before is cached."
    )
    return [f"What accuracy costs, means over seeds. {plain(prices)}", "", *(f"| {' | '.join(r)} |" for r in rows)]


def learns_from(recipe: Recipe) -> str:
    """What an arm learns from, in a few words; the method's name for one that this version does not know."""
    return METHODS[recipe.method].label_of(recipe) if recipe.method in METHODS else recipe.method


def short_verdict(difference: Interval | None) -> str:
    """`evaluation.compare.verdict` in a few words."""
    return "nothing can be said" if difference is None else shows(difference)


def short_number(value: object) -> str:
    """Large numbers whole and in groups, small ones with two decimals."""
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.2f}"
    return str(value)


def _row(comparison: Results, arm: Arm) -> dict[str, Any]:
    """Everything of an arm; intervals are still intervals, and None is one that nobody measured."""
    own, last = arm is comparison.reference, arm.budgets[-1]
    difference = None if own else comparison.difference(arm)
    rises = [rise for one in arm.seeds if (rise := one.rise_at(one.budgets[-1])) is not None]
    return {
        "arm": arm.name,
        "method": learns_from(arm.seeds[0].recipe),
        "seeds": len(arm.seeds),
        **{f"best temperature, {b:,} samples, %": comparison.accuracy(arm, b) for b in comparison.budgets},
        "gain, points": pooled_interval(np.stack(rises)) if rises else None,
        "greedy, %": comparison.accuracy(arm, last, 0.0),
        "temperature 1, %": comparison.accuracy(arm, last, 1.0),
        **_entropy(arm),
        f"{comparison.reference.name} minus this": difference,
        "verdict": "" if own else short_verdict(difference),
        **_mean_totals(arm),
        PAPER: cost_of(arm.seeds[0].recipe),
    }


def _in_columns(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if value is None or isinstance(value, Interval):
            mean, low, high = _points(value)
            flat |= {f"{name} mean": mean, f"{name} low": low, f"{name} high": high}
        else:
            flat[name] = value
    return flat


def _points(interval: Interval | None) -> tuple[float, float, float]:
    """Mean, low and high in hundredths."""
    if interval is None:
        return math.nan, math.nan, math.nan
    return 100 * interval.mean, 100 * interval.low, 100 * interval.high


def _entropy(arm: Arm) -> dict[str, str]:
    """Nats per token of the trained students' answers at temperature 1, which are right more often the fewer they are
    unsure of; nothing where an arm was not asked."""
    found = [m.entropy for one in arm.seeds if (m := one.after.get(1.0)) is not None and m.entropy is not None]
    return {ENTROPY: f"{sum(found) / len(found):.3f}"} if found else {}


def _mean_totals(arm: Arm) -> dict[str, float]:
    """What a run of the arm took, the mean over its seeds."""
    return {
        shown: sum(float(getattr(one.totals, name)) for one in arm.seeds) / len(arm.seeds)
        for shown, name in TOTALS.items()
    }


def _intervals(comparison: Results) -> str:
    found = (comparison.accuracy(arm, budget) for arm in comparison.arms for budget in comparison.budgets)
    units = {interval.unit for interval in found if interval is not None}
    over = "seeds, or over problems where seeds show no spread" if len(units) > 1 else f"{max(units)}s"
    return f"with 95% intervals over {over}"


def _shown(interval: Interval | None) -> str:
    return NOTHING if interval is None else str(interval)
