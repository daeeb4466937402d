"""Runs that differ in nothing but their seed are one arm; arms are compared over the seeds that they share.

Seeds are the units where there are several, problems where there is one. A run that is damaged, unfinished or not
measured as the others is named and left out, never averaged in. Knows records and recipes; draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniopd.comparison.cost import cost_of
from omniopd.errors import ConfigError, DataError, RunError
from omniopd.evaluation.compare import Interval, best_temperature, paired_difference, seed_interval, verdict
from omniopd.evaluation.tables import AFTER, BEFORE, report_rows
from omniopd.records import EvalRecord, StepRecord
from omniopd.runs.store import Run, open_run

if TYPE_CHECKING:
    import pandas

_NOT_THE_ARM = ("seed", "name", "training.save_every", "training.record_every", "training.keep", "training.threads")


@dataclass(frozen=True, slots=True)
class Seed:
    """One run of an arm: before and after training, by temperature, and what it took."""

    run: Run
    seed: int
    before: Mapping[float, EvalRecord]
    after: Mapping[float, EvalRecord]
    between: tuple[EvalRecord, ...]
    steps: tuple[StepRecord, ...]

    @property
    def best(self) -> EvalRecord:
        return best_temperature(self.after.values())

    @property
    def rise(self) -> float | None:
        """Best temperature after minus best temperature before; None where the untrained student was not measured."""
        return self.best.accuracy - best_temperature(self.before.values()).accuracy if self.before else None

    @property
    def student_tokens(self) -> float:
        rollouts = self.run.recipe.training.rollouts
        return (
            sum(s.metrics.get("length/mean", s.metrics.get("completions/mean_length", 0.0)) for s in self.steps)
            * rollouts
        )

    @property
    def teacher_tokens(self) -> tuple[int, int]:
        return sum(s.input_tokens for s in self.steps), sum(s.output_tokens for s in self.steps)

    @property
    def usd(self) -> float:
        return sum(s.cost_usd for s in self.steps)

    @property
    def seconds(self) -> float:
        return sum(s.metrics.get("step_time", s.seconds.get("step", 0.0)) for s in self.steps)


@dataclass(frozen=True, slots=True)
class Arm:
    """Runs of one setting, ascending by seed. `settings` are those in which the arms of the comparison differ."""

    name: str
    seeds: tuple[Seed, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def by_seed(self) -> dict[int, Seed]:
        return {one.seed: one for one in self.seeds}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Arms, the first of them the one that others are compared with, and what had to be left out and why."""

    arms: tuple[Arm, ...]
    problems: tuple[str, ...] = ()

    def table(self) -> pandas.DataFrame:
        """One row an arm: seeds, accuracies in percent with intervals, the difference and its verdict, the costs."""
        import pandas

        return pandas.DataFrame([self._row(arm) for arm in self.arms]).set_index("arm")

    def difference(self, arm: Arm) -> Interval | None:
        """The first arm's best-temperature accuracy minus this one's: paired by seed, or by problem where one seed is
        shared; None where none is."""
        ours, theirs, shared = self.arms[0].by_seed(), arm.by_seed(), self.shared_seeds(arm)
        if len(shared) >= 2:
            return seed_interval([ours[s].best.accuracy - theirs[s].best.accuracy for s in shared])
        if shared:
            return paired_difference(ours[shared[0]].best, theirs[shared[0]].best)
        return None

    def shared_seeds(self, arm: Arm) -> list[int]:
        """The seeds that the first arm and this one both have, ascending."""
        return sorted(set(self.arms[0].by_seed()) & set(arm.by_seed()))

    def verdicts(self) -> list[str]:
        """A sentence per arm beside the first: better, worse, or that no difference is shown."""
        said = []
        for arm in self.arms[1:]:
            found, both = self.difference(arm), f"{self.arms[0].name} beside {arm.name}"
            if found is None:
                said.append(f"{both}: they share no seed, so nothing can be said")
            else:
                units = "seeds" if len(self.shared_seeds(arm)) > 1 else "problems"
                said.append(f"{both}: {verdict(found)} ({units} are the units)")
        return said

    def _row(self, arm: Arm) -> dict[str, Any]:
        difference = None if arm is self.arms[0] else self.difference(arm)
        recipe = arm.seeds[0].run.recipe
        count = len(arm.seeds)
        read, written = (sum(s.teacher_tokens[i] for s in arm.seeds) / count for i in (0, 1))
        rises = [s.rise for s in arm.seeds if s.rise is not None]
        return {
            "arm": arm.name,
            "seeds": count,
            "best T, %": _percent([s.best.accuracy for s in arm.seeds]),
            "rise, points": _percent(rises),
            "greedy, %": _percent([s.after[0.0].accuracy for s in arm.seeds if 0.0 in s.after]),
            "T=1, %": _percent([s.after[1.0].accuracy for s in arm.seeds if 1.0 in s.after]),
            f"{self.arms[0].name} minus this": "" if difference is None else str(difference),
            "updates": sum(len(s.steps) for s in arm.seeds) / count,
            "student tokens": sum(s.student_tokens for s in arm.seeds) / count,
            "teacher read": read,
            "teacher written": written,
            "usd": sum(s.usd for s in arm.seeds) / count,
            "seconds": sum(s.seconds for s in arm.seeds) / count,
            "cost by the paper": cost_of(recipe),
        }


def compare(runs: Iterable[Run | str | Path], reference: str | None = None) -> Comparison:
    """Group runs into arms. The first arm is the one called `reference`, or that of the first run.

    Raises DataError where nothing can be compared.
    """
    seeds: list[Seed] = []
    problems: list[str] = []
    for given in runs:
        try:
            seeds.append(_read(given if isinstance(given, Run) else open_run(given)))
        except (RunError, ConfigError, DataError) as error:
            problems.append(str(error))
    seeds, mixed = _alike(seeds)
    problems += mixed
    grouped: dict[tuple[tuple[str, str], ...], list[Seed]] = {}
    for one in seeds:
        key = tuple((k, repr(v)) for k, v in _flat(one.run.recipe.as_dict()).items() if k not in _NOT_THE_ARM)
        grouped.setdefault(key, []).append(one)
    arms: list[Arm] = []
    for arm in _named(list(grouped.values())):
        kept, doubled = _one_per_seed(arm)
        arms.append(kept)
        problems += doubled
    if not arms:
        raise DataError("there is nothing to compare: " + ("; ".join(problems) or "no run was given"))
    if reference is not None:
        if reference not in {arm.name for arm in arms}:
            raise DataError(f"no arm is called {reference!r}: there are {', '.join(arm.name for arm in arms)}")
        arms.sort(key=lambda arm: arm.name != reference)
    return Comparison(tuple(arms), tuple(problems + _missing_seeds(arms)))


def _read(run: Run) -> Seed:
    if run.state != "finished":
        raise RunError(f"{run.path} is left out: it is {run.state}, and a run counts when it has finished")
    rows = report_rows(run.evals())
    after = {e.temperature: e for e in rows.get(AFTER, ())}
    if not after:
        raise RunError(f"{run.path} is left out: its trained student was not measured")
    before = {e.temperature: e for e in rows.get(BEFORE, ())}
    last = max(e.step for e in after.values())
    between = tuple(e for e in run.evals() if e.model == "student" and e.step < last)
    return Seed(run, run.recipe.seed, before, after, between, tuple(run.steps()))


def _alike(seeds: Sequence[Seed]) -> tuple[list[Seed], list[str]]:
    """Those measured on the same problems at the same temperatures as most of them, and a sentence for each other."""
    kinds: dict[Any, list[Seed]] = {}
    for one in seeds:
        kinds.setdefault(frozenset((t, tuple(e.per_problem)) for t, e in one.after.items()), []).append(one)
    if len(kinds) <= 1:
        return list(seeds), []
    main = max(kinds.values(), key=len)
    return main, [
        f"{one.run.path} is left out: it was measured on other problems or at other temperatures than the others"
        for one in seeds
        if one not in main
    ]


def _named(groups: Sequence[Sequence[Seed]]) -> list[Arm]:
    """Arms by their recipes' names where those differ, else by the settings in which they differ."""
    flats = [_flat(group[0].run.recipe.as_dict()) for group in groups]
    keys = [
        k for k in (flats[0] if flats else {}) if k not in _NOT_THE_ARM and len({repr(f.get(k)) for f in flats}) > 1
    ]
    names = [group[0].run.recipe.name for group in groups]
    if len(set(names)) < len(names):
        names = [", ".join(f"{k.rpartition('.')[2]}={flat[k]}" for k in keys) for flat in flats]
    ordered = [tuple(sorted(group, key=lambda one: one.seed)) for group in groups]
    return [
        Arm(name, group, {k: flat[k] for k in keys}) for name, group, flat in zip(names, ordered, flats, strict=True)
    ]


def _one_per_seed(arm: Arm) -> tuple[Arm, list[str]]:
    kept: dict[int, Seed] = {}
    problems = []
    for one in arm.seeds:
        if one.seed in kept:
            problems.append(f"{one.run.path} is left out: {kept[one.seed].run.path} has the same settings and seed")
        else:
            kept[one.seed] = one
    return replace(arm, seeds=tuple(kept.values())), problems


def _missing_seeds(arms: Sequence[Arm]) -> list[str]:
    everything = sorted({one.seed for arm in arms for one in arm.seeds})
    return [
        f"{arm.name} lacks seed {', '.join(map(str, missing))}: differences use the seeds that both have"
        for arm in arms
        if (missing := [s for s in everything if s not in arm.by_seed()])
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flat(inner, f"{prefix}{name}.") if isinstance(inner, Mapping) else {prefix + name: inner}
    return flat


def _percent(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return str(seed_interval(values)) if len(values) > 1 else f"{100 * values[0]:.1f}"
