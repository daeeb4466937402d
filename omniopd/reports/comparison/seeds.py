"""One run of an arm, as a comparison needs it: what its student could do after how many student samples, and the costs.

A budget is a number of student samples, step × `training.rollouts` (for SFT, which samples no student, the teacher's
answers that were learnt). Knows run folders; keeps no record of an answer, only each problem's share of right ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from omniopd.config import Recipe
from omniopd.errors import RunError
from omniopd.evaluation.pass_at_k import mean_pass_at_k
from omniopd.records import EvalRecord
from omniopd.runs.evaluated import evaluated_since
from omniopd.runs.store import Run
from omniopd.runs.totals import Totals, totals

STUDENT = "student"
PASSES = 16  # the k of pass@k


@dataclass(frozen=True, eq=False)
class Measurement:
    """A student on held-out problems at one temperature. `shares[i]`: how many of the answers to `problems[i]` were
    right; problems are in the order of their names. `entropy`: nats per token of the answers, where it was measured."""

    step: int
    temperature: float
    task: str
    split: str
    samples: int
    max_tokens: int
    seed: int
    problems: tuple[str, ...]
    shares: np.ndarray
    entropy: float | None = None

    @classmethod
    def of(cls, record: EvalRecord) -> Measurement:
        shares = record.per_problem
        names = sorted(shares)
        return cls(
            record.step, record.temperature, record.task, record.split, record.samples, record.max_tokens, record.seed,
            tuple(names), np.array([shares[name] for name in names]), record.entropy,
        )  # fmt: skip

    @cached_property
    def accuracy(self) -> float:
        return float(self.shares.mean())


Measured = Mapping[float, Measurement]


@dataclass(frozen=True, slots=True)
class Seed:
    """One finished run. `at` holds the complete measurements by budget (student samples) and temperature, ascending;
    the last is that of the trained student. `between` are the smaller ones of `evaluation.every`, `before` those of
    the untrained student (empty where nobody took them). `passed` is pass@16 of the trained student at temperature 1,
    from the run or an evaluation since (None: nobody took 16 answers)."""

    run: Run
    recipe: Recipe
    seed: int
    before: Measured
    at: Mapping[int, Measured]
    between: tuple[Measurement, ...]
    totals: Totals
    passed: float | None = None

    @property
    def budgets(self) -> tuple[int, ...]:
        return tuple(self.at)

    @property
    def after(self) -> Measured:
        return self.at[self.budgets[-1]]

    @property
    def best(self) -> Measurement:
        """The trained student at the temperature that suits it best."""
        return best_of(self.after)

    def best_at(self, budget: int) -> Measurement | None:
        return best_of(self.at[budget]) if budget in self.at else None

    def rise_at(self, budget: int) -> np.ndarray | None:
        """Best temperature there minus best temperature untrained, by problem; None where one was not measured."""
        after = self.best_at(budget)
        return after.shares - best_of(self.before).shares if after is not None and self.before else None


def best_of(measured: Measured) -> Measurement:
    """The measurement of highest accuracy; of equal ones that of the lowest temperature."""
    return max((measured[t] for t in sorted(measured)), key=lambda m: m.accuracy)


def read_seed(run: Run) -> Seed:
    """Raises RunError for a run that is damaged, has not finished, or whose trained student was not measured."""
    if run.state != "finished":
        raise RunError(f"{run.path} is left out: it is {run.state}, and a run counts when it has finished")
    recipe = run.recipe
    records = [record for record in run.evals() if record.model == STUDENT and record.problems]
    last = max((record.step for record in records), default=0)
    if last == 0:
        raise RunError(f"{run.path} is left out: its trained student was not measured")
    if last < recipe.training.steps:
        raise RunError(
            f"{run.path} is left out: its student was measured after {last} steps, and it was trained for "
            f"{recipe.training.steps}"
        )
    by_step = {step: _most_answers(r for r in records if r.step == step) for step in sorted({r.step for r in records})}
    final = by_step[last]
    complete = {step: found for step, found in by_step.items() if _as_complete(found, final)}
    kept = {id(record) for found in complete.values() for record in found.values()}
    return Seed(
        run=run,
        recipe=recipe,
        seed=recipe.seed,
        before={t: Measurement.of(r) for t, r in complete.get(0, {}).items()},
        at={
            step * recipe.training.rollouts: {t: Measurement.of(r) for t, r in found.items()}
            for step, found in complete.items()
            if step
        },
        between=tuple(Measurement.of(r) for r in records if r.step and id(r) not in kept),
        totals=totals(run.steps(), recipe.training.rollouts),
        passed=_passed([*final.values(), *(r for r in evaluated_since(run.path) if r.step == last)], final),
    )


def _passed(records: Iterable[EvalRecord], final: Mapping[float, EvalRecord]) -> float | None:
    """Of several evaluations that tell it the one with the most problems counts; they must be of the run's own
    problems, with answers as long and draws as seeded as at its end."""
    last = next(iter(final.values()))
    asked = last.task, last.split, last.max_tokens, last.seed
    enough = [
        record
        for record in records
        if record.temperature == 1 and (record.task, record.split, record.max_tokens, record.seed) == asked
        and record.problems and record.per_problem.keys() <= last.per_problem.keys()
        and min(problem.samples for problem in record.problems) >= PASSES
    ]  # fmt: skip
    return mean_pass_at_k(max(enough, key=lambda r: len(r.problems)), PASSES) if enough else None


def with_before(seeds: Sequence[Seed]) -> list[Seed]:
    """The seeds; a run whose untrained student was not measured takes the measurements of one beside it.

    It must be the same student with the same seed on the same problems at the same temperatures, with as many answers:
    a draw is seeded by (seed, problem, sample), so that the same student has given the same answers.
    """
    known: dict[Any, Measured] = {}
    for one in seeds:
        if one.before:
            known.setdefault(_untrained(one, one.before), one.before)
    return [one if one.before else replace(one, before=known.get(_untrained(one, one.after), {})) for one in seeds]


def kind_of(one: Seed) -> Any:
    """What must be the same for two runs to be compared: problems, temperatures, answers to each, their length."""
    return frozenset((t, m.task, m.split, m.samples, m.max_tokens, m.problems) for t, m in one.after.items())


def _untrained(one: Seed, measured: Measured) -> Any:
    student = one.recipe.student
    return (
        student.model,
        student.dtype,
        frozenset((t, m.seed, m.task, m.split, m.samples, m.max_tokens, m.problems) for t, m in measured.items()),
    )


def _most_answers(records: Iterable[EvalRecord]) -> dict[float, EvalRecord]:
    """Of several at one temperature the one with the most answers, and of equal ones the last."""
    kept: dict[float, EvalRecord] = {}
    for record in records:
        other = kept.get(record.temperature)
        if other is None or _answers(record) >= _answers(other):
            kept[record.temperature] = record
    return kept


def _as_complete(found: Mapping[float, EvalRecord], final: Mapping[float, EvalRecord]) -> bool:
    """Measured as at the end: all its temperatures, all its problems."""
    return set(found) == set(final) and all(
        (record.task, record.split, record.per_problem.keys())
        == (final[t].task, final[t].split, final[t].per_problem.keys())
        for t, record in found.items()
    )


def _answers(record: EvalRecord) -> int:
    return sum(problem.samples for problem in record.problems)
