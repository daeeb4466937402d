"""Several runs beside each other, with their tables and figures at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas

from omniopd.errors import DataError
from omniopd.figures import Figure
from omniopd.reports.comparison import figures, tables
from omniopd.reports.comparison.arms import arms_of
from omniopd.reports.comparison.results import Results
from omniopd.runs.store import Run


class Comparison(Results):
    """Arms, the first of them the one that others are compared with, and what had to be left out and why."""

    def table(self) -> pandas.DataFrame:
        """One row an arm, as `comparison.tables.table` says."""
        return tables.table(self)

    def plot(self, what: str = "learning") -> Figure:
        """One figure: "learning", "differences", "temperatures", "training", "tokens" or "dollars". Raises DataError
        for another name."""
        if what not in figures.FIGURES:
            raise DataError(f"there is no figure {what!r} of a comparison: take one of {', '.join(figures.FIGURES)}")
        return figures.FIGURES[what](self)

    def plots(self) -> list[Figure]:
        """All figures that have something to show."""
        return list(figures.figures(self).values())

    def __repr__(self) -> str:
        return "\n".join([f"Comparison({len(self.arms)} arms)", *self.verdicts(last=True)])

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> dict[str, Any]:
        """In a notebook: one forest of the differences, and in words what they show."""
        forest = self.plot("differences")
        return {**(forest._repr_mimebundle_() if forest.data else {}), "text/plain": repr(self)}


def compare(runs: Iterable[Run | str | Path], reference: str | None = None, arms: Sequence[str] = ()) -> Comparison:
    """Group runs into arms. The first arm is the one called `reference`, or that of the first run; `arms` leaves all
    others out. Raises DataError where nothing can be compared, or for a name that is not that of an arm."""
    found, problems = arms_of(runs, reference, arms)
    return Comparison(tuple(found), tuple(problems))
