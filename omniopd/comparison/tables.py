"""A comparison as tables: everything for a file, what fits a page, and GitHub's Markdown for a README or a log.

Accuracies in percent with 95% intervals, over seeds, or over problems where there is one seed. Deterministic: the same
runs give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omniopd.comparison.arms import Arm
from omniopd.comparison.cost import cost_of
from omniopd.comparison.results import Comparison
from omniopd.config import Recipe
from omniopd.config.settings import LABELLED
from omniopd.evaluation.compare import MARGIN, Interval, seed_interval
from omniopd.evaluation.tables import NOTHING
from omniopd.runs.totals import Totals

if TYPE_CHECKING:
    import pandas

COSTS = ("updates", "student tokens", "teacher read", "teacher written", "usd", "seconds", "cost by the paper")
_METHODS = {
    "continuations": "text: continuation cross-entropy",
    "white_box": "logits: full vocabulary",
    "white_box_sampled": "logits: the student's tokens",
    "sft": "SFT on teacher answers",
    "grpo": "GRPO with the grader",
}


def table(comparison: Comparison) -> pandas.DataFrame:
    """One row an arm: its method, seeds, accuracies by budget, the difference and its verdict, means of the costs.

    Accuracies and differences are text ("52.1 [50.0, 54.2]"), costs numbers. `reference minus this` and `verdict` are
    those of the last budget that both have.
    """
    import pandas

    return pandas.DataFrame([_row(comparison, arm) for arm in comparison.arms]).set_index("arm")


def differences(comparison: Comparison) -> pandas.DataFrame:
    """One row an arm, one column a budget: the reference minus this arm in points, and what it shows in short."""
    import pandas

    def cell(arm: Arm, budget: int) -> str:
        found = comparison.difference(arm, budget)
        return NOTHING if found is None else f"{found}: {short_verdict(found)}"

    rows = {a.name: {f"at {b:,} samples": cell(a, b) for b in comparison.budgets} for a in comparison.arms[1:]}
    return pandas.DataFrame.from_dict(rows, orient="index")


def markdown(comparison: Comparison) -> str:
    """The table in short columns and every sentence, as GitHub's Markdown; names are code, so that they stay words."""
    reference = comparison.reference
    head = ["arm", "seeds", *(f"{budget:,} samples, %" for budget in comparison.budgets), "reference − arm, points"]
    rows = [[*head, "verdict", "teacher tokens"]]
    for arm in comparison.arms:
        own = arm is reference
        took = _mean_totals(arm)
        rows.append(
            [
                _code(arm.name),
                str(len(arm.seeds)),
                *(_shown(comparison.accuracy(arm, budget)) for budget in comparison.budgets),
                "(reference)" if own else _shown(comparison.difference(arm)),
                "" if own else short_verdict(comparison.difference(arm)),
                f"{took['teacher read'] + took['teacher written']:,.0f}",
            ]
        )
    rows.insert(1, ["---", *["---:"] * len(comparison.budgets), "---:", "---:", "---", "---:"])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", f"Right answers at each student's best temperature, {_intervals(comparison)}.", ""]
    lines += [f"- {_plain(sentence)}" for sentence in (*comparison.verdicts(), *comparison.shares())]
    if comparison.problems:
        lines += ["", "Left out, or missing:", "", *(f"- {_plain(sentence)}" for sentence in comparison.problems)]
    return "\n".join(lines) + "\n"


def in_words(recipe: Recipe) -> str:
    """What an arm learns from, in a few words."""
    if recipe.method != "omniopd":
        return _METHODS.get(recipe.method, recipe.method)
    audit, objective = recipe.audit, recipe.objective
    said = f"text: {objective.target}, M={audit.forks} N={audit.samples} C={audit.chunk_tokens}"
    if objective.target not in (*LABELLED, "none"):
        said += f", {audit.similarity}"
    return said if objective.control == "none" else f"{said}; control: {objective.control}"


def short_verdict(difference: Interval | None, margin: float = MARGIN) -> str:
    """`evaluation.compare.verdict` in a few words."""
    if difference is None:
        return "nothing can be said"
    if difference.low > 0:
        return "better"
    if difference.high < 0:
        return f"worse, by less than {100 * margin:g} points" if difference.low > -margin else "worse"
    return "no difference shown" + ("; not worse" if difference.low > -margin else "")


def _row(comparison: Comparison, arm: Arm) -> dict[str, Any]:
    own, last = arm is comparison.reference, arm.budgets[-1]
    difference = None if own else comparison.difference(arm)
    rises = [float(rise.mean()) for one in arm.seeds if (rise := one.rise_at(one.budgets[-1])) is not None]
    return {
        "arm": arm.name,
        "method": in_words(arm.seeds[0].recipe),
        "seeds": len(arm.seeds),
        **{f"best T at {b:,}, %": _shown(comparison.accuracy(arm, b)) for b in comparison.budgets},
        "rise, points": _points(rises),
        "greedy, %": _shown(comparison.accuracy(arm, last, 0.0)),
        "T=1, %": _shown(comparison.accuracy(arm, last, 1.0)),
        f"{comparison.reference.name} minus this": "" if own else _shown(difference),
        "verdict": "" if own else short_verdict(difference),
        **_mean_totals(arm),
        "cost by the paper": cost_of(arm.seeds[0].recipe),
    }


def _mean_totals(arm: Arm) -> dict[str, float]:
    """What a run of the arm took, the mean over its seeds."""

    def mean(of: str) -> float:
        return sum(float(getattr(one.totals, of)) for one in arm.seeds) / len(arm.seeds)

    return {shown: mean(name) for shown, name in zip(COSTS, Totals.__dataclass_fields__, strict=False)}


def _intervals(comparison: Comparison) -> str:
    several = sum(len(arm.seeds) > 1 for arm in comparison.arms)
    over = "seeds" if several == len(comparison.arms) else "seeds, or over problems where there is one seed"
    return f"with 95% intervals over {over if several else 'problems'}"


def _shown(interval: Interval | None) -> str:
    if interval is None:
        return NOTHING
    return str(interval) if interval.low == interval.low else f"{100 * interval.mean:.1f}"


def _points(values: Sequence[float]) -> str:
    if not values:
        return NOTHING
    return str(seed_interval(values)) if len(values) > 1 else f"{100 * values[0]:.1f}"


def _code(name: str) -> str:
    """A name as code in a table: nothing in it is markup, and nothing ends the cell or the line."""
    return f"`{_line(name).replace('`', chr(39)).replace('|', '/')}`"


def _plain(sentence: str) -> str:
    """A sentence in which no letter is markup."""
    return re.sub(r"([\\`*<>&#@$~]|^\[|\](?=[(\[])|(?<!\w)_|_(?!\w))", r"\\\1", _line(sentence))


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
