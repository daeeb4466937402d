"""A comparison as one HTML file: sentences, pictures, tables; it runs nothing and loads nothing."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import pandas

from omniopd.evaluation.compare import MARGIN
from omniopd.evaluation.tables import NOTHING, as_html
from omniopd.figures import Figure
from omniopd.reports.comparison.arms import Arm
from omniopd.reports.comparison.comparison import Comparison
from omniopd.reports.comparison.cost import paper_cost
from omniopd.reports.comparison.figures import figures
from omniopd.reports.comparison.tables import COSTS, costs, short_verdict, shown_table
from omniopd.reports.html import POLICY
from omniopd.runs.files.atomic import write_text

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;color:light-dark(#222,#ddd);background:light-dark(#fff,#1b1b1b);"
    "margin:2.5em auto;max-width:84em;padding:0 1.5em}"
    "h1{font-size:1.7em;margin-bottom:.3em}h2{font-size:1.2em;margin:2em 0 .6em}p{max-width:48em}"
    "table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto;border-top:1.5px solid}"
    "thead th{border-bottom:1px solid}th,td{padding:4px 10px;text-align:right;white-space:nowrap;font-weight:400}"
    "thead th{font-weight:600;vertical-align:bottom}tbody tr:nth-child(even){background:light-dark(#f7f7f7,#252525)}"
    "th:first-child,td:first-child{text-align:left}tbody th{font-weight:600}"
    ".words td:nth-child(2),.words thead th:nth-child(2){text-align:left}"
    ".words td:nth-child(2){min-width:13em;white-space:normal}"
    "img{width:100%;max-width:820px;height:auto;display:block}summary{cursor:pointer;color:light-dark(#2f62a8,#8ab4e8)}"
    "figure{margin:1.6em 0}li{margin:.15em 0}.note{color:light-dark(#555,#aaa);font-size:13px}"
    "@media print{:root{color-scheme:light}body{margin:0;max-width:none}table{display:table;font-size:9px}"
    "th,td{padding:2px 5px}h2{break-after:avoid}figure,tr{break-inside:avoid}}"
)

_OF_THE_FOREST = (
    f'<p class="note">Filled dots lie apart from 0, hollow ones do not; right of the dashed line ({-100 * MARGIN:g} '
    "points) the reference is not worse. An arrow: the difference lies beyond the axis.</p>"
)


def comparison_page(
    comparison: Comparison, file: str | Path, title: str = "Runs compared", beside: Sequence[str] = ()
) -> Path:
    """Write the page and return its path; `beside` adds how every arm stands beside those of these names."""
    frame = shown_table(comparison)
    shown = f"{comparison.reference.name} minus this"
    runs = sum(len(arm.seeds) for arm in comparison.arms)
    pictures = figures(comparison)
    forest = [_picture(pictures["differences"]), _OF_THE_FOREST] if "differences" in pictures else []
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{len(comparison.arms)} arms, {runs} runs; {html.escape(comparison.reference.name)} is the reference. "
        "Accuracies are those of the temperature that suits each student best: sharpening alone cannot raise them. "
        "Intervals hold 95%, over seeds where an arm has several that differ, else over problems; they are not "
        "corrected for how many there are.</p>",
        *(["<h2>What they say</h2>", *forest, _list(said)] if (said := _said(comparison)) else []),
        *(["<h2>Left out, or missing</h2>", _list(comparison.problems)] if comparison.problems else []),
        "<h2>Pictures</h2>",
        *(_picture(figure) for name, figure in pictures.items() if name != "differences"),
        '<p class="note">Bands are 95% intervals; thin lines are arms with fewer seeds.</p>',
        "<h2>Accuracy</h2>",
        _with_words(frame.drop(columns=[*(c for c in COSTS if c in frame.columns), shown, "verdict"])),
        f"<details><summary>{html.escape(comparison.reference.name)} minus each arm at every budget, points</summary>"
        f"{as_html(_differences(comparison))}</details>",
        _folded("The same in sentences", comparison.verdicts()),
        *(_folded(f"Every arm beside {name}", comparison.verdicts(name)) for name in beside),
        "<h2>Cost</h2>",
        as_html(costs(comparison)),
        '<p class="note">Means over the runs of an arm, evaluations not counted. A budget counts student samples, for '
        "SFT the teacher's answers. Where a teacher's logits are seen, it reads every prompt and answer. “Teacher "
        "cost” is the paper's, in whole answers (4,000 tokens) per rollout: each fork takes a prefix (2,000 tokens "
        "read, at a tenth of the price of a written one) and samples × length tokens. "
        f"Its own settings give {paper_cost(5, 10, 50):.2f}, {paper_cost(10, 10, 50):.2f} and "
        f"{paper_cost(10, 10, 100):.2f}.</p>",
        "<h2>Settings in which they differ</h2>",
        as_html(pandas.DataFrame({a.name: {k: str(v) for k, v in a.settings.items()} for a in comparison.arms}).T),
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    )
    file = Path(file)
    write_text(file, f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n')
    return file


def _said(comparison: Comparison) -> list[str]:
    return [*comparison.verdicts(last=True), *comparison.shares()]


def _picture(figure: Figure) -> str:
    """As data: its styles and identifiers stay its own."""
    data = base64.b64encode(figure.svg().encode()).decode()
    return f'<figure><img alt="{html.escape(repr(figure))}" src="data:image/svg+xml;base64,{data}"></figure>'


def _with_words(frame: pandas.DataFrame) -> str:
    return f'<div class="words">{as_html(frame)}</div>'


def _differences(comparison: Comparison) -> pandas.DataFrame:
    """One row an arm, one column a budget: the interval and what it shows in short."""

    def cell(arm: Arm, budget: int) -> str:
        found = comparison.difference(arm, budget)
        return NOTHING if found is None else f"{found}: {short_verdict(found)}"

    rows = {a.name: {f"at {b:,} samples": cell(a, b) for b in comparison.budgets} for a in comparison.arms[1:]}
    return pandas.DataFrame.from_dict(rows, orient="index")


def _folded(title: str, sentences: Sequence[str]) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{_list(sentences)}</details>"


def _list(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(s)}</li>' for s in sentences)}</ul>"
