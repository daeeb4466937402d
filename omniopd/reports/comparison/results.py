"""Arms beside each other at budgets of student samples: accuracies, paired differences, what a control keeps.

Seeds are the units where two arms share several that differ, problems elsewhere. A difference is always the reference
(or the arm named first) minus the other, at the temperature that suits each student best. Intervals hold 95% each
and are not corrected for their number. Draws nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from omniopd.errors import DataError
from omniopd.evaluation.compare import Interval, pooled_interval, verdict
from omniopd.reports.comparison.arms import Arm
from omniopd.reports.comparison.seeds import Measurement, Seed, best_of
from omniopd.reports.comparison.shares import Share, pooled_share


@dataclass(frozen=True, slots=True)
class Results:
    """Arms, the first of them the one that others are compared with, and what had to be left out and why."""

    arms: tuple[Arm, ...]
    problems: tuple[str, ...] = ()

    @property
    def reference(self) -> Arm:
        return self.arms[0]

    @property
    def budgets(self) -> tuple[int, ...]:
        """Student samples after which the reference was measured, ascending; others are compared with it there."""
        return self.reference.budgets

    def arm(self, name: str) -> Arm:
        """Raises DataError for a name that is not that of an arm."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise DataError(f"no arm is called {name!r}: there are {', '.join(arm.name for arm in self.arms)}")

    def accuracy(self, arm: Arm, budget: int, temperature: float | None = None) -> Interval | None:
        """Mean over the arm's seeds with its interval, over problems where seeds show no spread; None: not measured.

        `temperature` None is the best one of each seed. Ends stay within what an accuracy can be.
        """
        found = [m for one in arm.seeds if (m := _measured(one, budget, temperature)) is not None]
        return pooled_interval(np.stack([m.shares for m in found]), difference=False) if found else None

    def ranked(self) -> list[Arm]:
        """Arms by accuracy after the most samples, descending; where it was not measured, by that after fewer."""

        def rank(arm: Arm) -> list[float]:
            found = [self.accuracy(arm, budget) for budget in reversed(self.budgets)]
            return [-1.0 if accuracy is None else accuracy.mean for accuracy in found]

        return sorted(self.arms, key=rank, reverse=True)

    def difference(self, arm: Arm, budget: int | None = None, ours: Arm | None = None) -> Interval | None:
        """Best-temperature accuracy of `ours` (the reference) minus that of `arm` at a budget (the last they share).

        Paired by seed, or by problem where they share one seed or all came out equal; None where they share none.
        """
        ours = ours or self.reference
        budget = self.last_budget(arm, ours) if budget is None else budget
        pairs = self._pairs(ours, arm, budget)
        return pooled_interval(np.stack([a.shares - b.shares for a, b in pairs])) if pairs else None

    def last_budget(self, arm: Arm, ours: Arm | None = None) -> int | None:
        """The most student samples after which a seed of both was measured; None where there are none."""
        shared = self._shared_budgets(ours or self.reference, arm)
        return shared[-1] if shared else None

    def shared_seeds(self, arm: Arm, budget: int | None = None, ours: Arm | None = None) -> list[int]:
        """The seeds that both were measured with (at a budget), ascending."""
        mine, theirs = (ours or self.reference).by_seed(), arm.by_seed()
        both = sorted(set(mine) & set(theirs))
        return [s for s in both if budget is None or (budget in mine[s].at and budget in theirs[s].at)]

    def verdicts(self, beside: str | None = None, last: bool = False) -> list[str]:
        """A sentence per arm and budget: the reference beside it, or, with the name of an arm, it beside that one; of
        the `last` budget only, if asked."""
        named = None if beside is None else self.arm(beside)
        pairs = (
            [(self.reference, arm) for arm in self.arms[1:]]
            if named is None
            else [(arm, named) for arm in self.arms if arm is not named]
        )
        found = [self._sentences(ours, theirs) for ours, theirs in pairs]
        return [sentence for one in found for sentence in (one[-1:] if last else one)]

    def share(self, arm: Arm, budget: int | None = None) -> Share | None:
        """Which share of the reference's rise over the untrained student an arm has, over the seeds (or the problems of
        seeds that came out equal) that both have; None where the untrained student was not measured."""
        budget = self.last_budget(arm) if budget is None else budget
        if budget is None:
            return None
        mine, theirs = self.reference.by_seed(), arm.by_seed()
        rises = [
            (part, whole)
            for s in self.shared_seeds(arm, budget)
            if (part := theirs[s].rise_at(budget)) is not None and (whole := mine[s].rise_at(budget)) is not None
        ]
        if not rises:
            return None
        return pooled_share(np.stack([part for part, _ in rises]), np.stack([whole for _, whole in rises]))

    def shares(self) -> list[str]:
        """A sentence per control, where the reference is none: the share of the rise it keeps without a teacher."""
        if self.reference.control != "none":
            return []
        said = []
        for arm in self.arms[1:]:
            if arm.control == "none":
                continue
            for budget in self._shared_budgets(self.reference, arm):
                kept = self.share(arm, budget)
                if kept is not None:
                    units = _units(kept, len(self.shared_seeds(arm, budget)))
                    said.append(
                        f"{arm.name} (control: {arm.control}): of the gain of {self.reference.name} at {budget:,} "
                        f"samples remains: {kept}{units}"
                    )
        return said

    def curve(self) -> pandas.DataFrame:
        """One row an arm and budget, 0 (untrained) first: arm, samples, mean, low, high (shares), seeds.

        Accuracy at the best temperature; the interval is over seeds, or over problems where they show no spread.
        """
        import pandas

        rows = []
        for arm in self.arms:
            for budget in (0, *arm.budgets):
                found = self.accuracy(arm, budget)
                if found is not None:
                    seeds = sum(_measured(one, budget, None) is not None for one in arm.seeds)
                    rows.append((arm.name, budget, found.mean, found.low, found.high, seeds))
        return pandas.DataFrame(rows, columns=["arm", "samples", "mean", "low", "high", "seeds"])

    def _sentences(self, ours: Arm, theirs: Arm) -> list[str]:
        both = f"{ours.name} beside {theirs.name}"
        if not self.shared_seeds(theirs, ours=ours):
            return [f"{both}: they share no seed, so nothing can be said"]
        said = []
        for budget in self._shared_budgets(ours, theirs):
            found = self.difference(theirs, budget, ours)
            if found is not None:
                units = _units(found, len(self.shared_seeds(theirs, budget, ours)))
                said.append(f"{both} at {budget:,} samples: {verdict(found)}{units}")
        return said or [f"{both}: they were measured after no equal number of student samples, so nothing can be said"]

    def _shared_budgets(self, ours: Arm, theirs: Arm) -> list[int]:
        return [b for b in ours.budgets if b in theirs.budgets and self.shared_seeds(theirs, b, ours)]

    def _pairs(self, ours: Arm, theirs: Arm, budget: int | None) -> list[tuple[Measurement, Measurement]]:
        if budget is None:
            return []
        mine, other = ours.by_seed(), theirs.by_seed()
        found = []
        for s in self.shared_seeds(theirs, budget, ours):
            a, b = mine[s].best_at(budget), other[s].best_at(budget)
            if a is not None and b is not None:
                found.append((a, b))
        return found


def _measured(one: Seed, budget: int, temperature: float | None) -> Measurement | None:
    at = one.before if budget == 0 else one.at.get(budget, {})
    if temperature is not None:
        return at.get(temperature)
    return best_of(at) if at else None


def _units(found: Interval | Share, seeds: int) -> str:
    if found.undetermined:
        return ""  # it names its units itself
    if found.unit == "seed":
        return f" ({seeds} seeds are the units)"
    alone = "one seed" if seeds == 1 else f"{seeds} seeds came out equal"
    return f" ({alone}: problems are the units)"
