"""A comparison as one HTML file: tables, sentences, pictures; it runs nothing and loads nothing."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from omniopd.charts import Chart
from omniopd.comparison.arms import Arm, Comparison
from omniopd.comparison.cost import paper_cost
from omniopd.evaluation.tables import as_html
from omniopd.reporting import POLICY
from omniopd.runs.atomic import write_text

if TYPE_CHECKING:
    import pandas

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#222;margin:2em auto;max-width:78em;padding:0 1em}"
    "table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}"
    "th,td{border-bottom:1px solid #ddd;padding:3px 9px;text-align:right;white-space:nowrap}"
    "th:first-child,td:first-child{text-align:left}svg{max-width:100%;height:auto}.left{text-align:left}"
)


def comparison_page(comparison: Comparison, file: str | Path, title: str = "Runs compared") -> Path:
    """Write the page and return its path."""
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{len(comparison.arms)} arms, {sum(len(a.seeds) for a in comparison.arms)} runs. Accuracies are those of "
        "the temperature that suits each student best: sharpening alone cannot raise it. Intervals hold 95%.</p>",
        "<h2>What it shows</h2>",
        _list(comparison.verdicts()),
        *(["<h2>What was left out, or is missing</h2>", _list(comparison.problems)] if comparison.problems else []),
        "<h2>Arms</h2>",
        as_html(comparison.table().map(_readable).T),
        *(chart.svg() for chart in charts(comparison)),
        "<h2>Settings in which they differ</h2>",
        as_html(_settings(comparison)),
        "<h2>Cost</h2>",
        f"<p>“Cost by the paper” is M·(P/ρ + N·C)/L with the paper's P = 2000, ρ = 10, L = 4000: whole answers of a "
        f"teacher per rollout. Its own settings give {paper_cost(5, 10, 50):.2f}, {paper_cost(10, 10, 50):.2f} and "
        f"{paper_cost(10, 10, 100):.2f}. Tokens and seconds beside it were measured.</p>",
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    )
    file = Path(file)
    write_text(file, f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n')
    return file


def charts(comparison: Comparison) -> list[Chart]:
    """Accuracy against temperature, and against student samples where it was measured in between; means over seeds."""
    by_temperature: dict[str, tuple[list[float], list[float]]] = {}
    by_samples: dict[str, tuple[list[float], list[float]]] = {}
    for arm in comparison.arms:
        temperatures = sorted(arm.seeds[0].after)
        by_temperature[arm.name] = (
            temperatures,
            [100 * mean(s.after[t].accuracy for s in arm.seeds) for t in temperatures],
        )
        by_samples[arm.name] = _learning_curve(arm)
    made = [Chart("After training", by_temperature, "temperature", "right, percent")]
    if any(len(xs) > 2 for xs, _ in by_samples.values()):
        made.append(
            Chart("While training, at the hottest temperature", by_samples, "student samples", "right, percent")
        )
    return made


def _learning_curve(arm: Arm) -> tuple[list[float], list[float]]:
    found: dict[int, list[float]] = {}
    for one in arm.seeds:
        hottest = max(one.after)
        for record in (*one.between, one.after[hottest]):
            if record.temperature == hottest:
                found.setdefault(record.step * one.run.recipe.training.rollouts, []).append(100 * record.accuracy)
    return [float(samples) for samples in sorted(found)], [mean(found[samples]) for samples in sorted(found)]


def _settings(comparison: Comparison) -> pandas.DataFrame:
    import pandas

    return pandas.DataFrame({arm.name: {k: str(v) for k, v in arm.settings.items()} for arm in comparison.arms})


def _readable(value: object) -> str:
    """Large numbers whole and in groups, small ones with two decimals."""
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.2f}"
    return str(value)


def _list(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(s)}</li>' for s in sentences)}</ul>"
