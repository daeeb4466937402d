"""What accuracy costs: arms against the teacher's tokens, and against dollars by stated price sheets.

Tokens that a provider had read before, behind the same beginning, are told apart: most price them lower, if only where
a beginning is long (a thousand tokens or more), so that dollars are told without a cache, too. A teacher that runs here
counts as one that is left at each difference and remembers all that it read: the least that texts can cost. Prices are
those of litellm's table, for providers whose models differ in what reading costs beside writing. Reads records only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas

from omniopd.config import METHODS
from omniopd.evaluation.compare import Interval
from omniopd.reports.comparison.arms import Arm
from omniopd.reports.comparison.results import Results
from omniopd.reports.comparison.seeds import PASSES, Seed
from omniopd.runs.totals import Totals, totals
from omniopd.teachers.spending.prices import Price, price_of
from omniopd.types import Usage

# A model each of three providers: writing a token costs 5, 8 and 1.5 times what reading one does, a cached one a tenth.
SHEETS = ("anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash", "deepseek/deepseek-chat")
TEMPERATURES = 0.0, 0.5, 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """An arm after a budget of student samples: accuracies, and what the teacher took, means over seeds."""

    arm: str
    samples: int
    seeds: int
    best: Interval
    at: Mapping[float, Interval]  # by temperature
    passed: float  # pass@16 at temperature 1; NaN where it was not measured
    calls: float
    read: float
    cached: float
    written: float

    @property
    def tokens(self) -> float:
        """Everything read and written, however often it was read before."""
        return self.read + self.written

    def usd(self, price: Price, cache: bool = True) -> float:
        """Dollars; without its `cache` a provider takes everything it reads for new."""
        return price.of(Usage(round(self.read), round(self.written), round(self.cached) if cache else 0))


def points(results: Results) -> Iterator[Point]:
    """Of every arm at every budget it was measured at, in the order of the comparison."""
    for arm in results.arms:
        for budget in arm.budgets:
            best = results.accuracy(arm, budget)
            took = [_until(one, budget) for one in arm.seeds if budget in one.at]
            if best is not None and took:
                at = {t: right for t in TEMPERATURES if (right := results.accuracy(arm, budget, t)) is not None}
                yield Point(
                    arm.name, budget, len(took), best, at, _passed(arm, budget), *(
                        sum(getattr(one, name) for one in took) / len(took)
                        for name in ("calls", "teacher_read", "teacher_cached", "teacher_written")
                    ),
                )  # fmt: skip


def frontier(results: Results) -> pandas.DataFrame:
    """One row an arm and budget: seeds, accuracies in percent, pass@16 after the last, calls, tokens read, cached of
    them, written, and dollars by each price sheet."""
    rows = [
        {
            "arm": p.arm, "samples": p.samples, "seeds": p.seeds,
            **{f"temperature {t:g}, %": 100 * p.at[t].mean if t in p.at else math.nan for t in TEMPERATURES},
            "best temperature, %": 100 * p.best.mean, "low": 100 * p.best.low, "high": 100 * p.best.high,
            f"pass@{PASSES}, %": 100 * p.passed,
            "calls": p.calls, "read": p.read, "of it cached": p.cached, "written": p.written,
            **{f"$ by {sheet}": p.usd(price) for sheet, price in sheets()},
            **{f"$ by {sheet}, no cache": p.usd(price, cache=False) for sheet, price in sheets()[:1]},
        }
        for p in points(results)
    ]  # fmt: skip
    return pandas.DataFrame(rows)


def sheets() -> list[tuple[str, Price]]:
    """The price sheets by the names of their models, but for those that the table does not know."""
    return [(name.partition("/")[2], price) for name in SHEETS if (price := price_of(name)) is not None]


def _passed(arm: Arm, budget: int) -> float:
    """NaN unless every seed has it: the table says of how many seeds it is."""
    found = [one.passed for one in arm.seeds if budget == one.budgets[-1]]
    return sum(known) / len(known) if (known := [p for p in found if p is not None]) == found and found else math.nan


def _until(one: Seed, budget: int) -> Totals:
    """What was taken for the first `budget` answers. Where all are bought before the first step, their share of it."""
    rollouts = one.recipe.training.rollouts
    whole = one.totals
    if METHODS[one.recipe.method].cost != "answers":
        return totals([s for s in one.run.steps() if s.step * rollouts <= budget], rollouts)
    return whole.scaled(min(1.0, one.recipe.training.passes * budget / max(one.budgets)))
