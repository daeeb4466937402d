"""Which trial of an arm wins, and whether the study's file says so. Reads runs; starts nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omniopd.errors import OmniOPDError
from omniopd.evaluation.compare import best_temperature
from omniopd.runs.store import open_run
from omniopd.sweeps.study import Study, StudyRun

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial of an arm. `accuracies` by budget (steps): shares at the best temperature, means over the seeds; empty
    where a run of it has not finished."""

    arm: str
    trial: str
    accuracies: Mapping[int, float]
    wins: bool = False
    is_tuned: bool = False

    @property
    def score(self) -> float | None:
        return trial_score(self.accuracies)


def trial_score(accuracies: Mapping[int, float]) -> float | None:
    """The rule by which the best trial of an arm is chosen: the mean over budgets of its accuracy at the best
    temperature, itself a mean over the trial's seeds.

    Over budgets, because a rate that wins at the end alone would hide how few samples another one needs; at the best
    temperature, because sharpening alone cannot raise that. None without any accuracy; of a tie the earlier trial wins.
    """
    return sum(accuracies.values()) / len(accuracies) if accuracies else None


def tried(study: Study, plan: Sequence[StudyRun], folder: Path) -> list[TrialResult]:
    """The trials of a plan, in its order, with the winner of each arm; an arm with an unfinished trial has none yet."""
    groups: dict[tuple[str, str], list[StudyRun]] = {}
    for planned in plan:
        groups.setdefault((planned.arm, planned.trial), []).append(planned)
    means = {key: _mean([_accuracies(one, folder) for one in group]) for key, group in groups.items()}
    tuned = {arm: study.tuned(arm) for arm, _ in means}
    results = []
    for (arm, trial), accuracies in means.items():
        scores = {t: trial_score(m) for (a, t), m in means.items() if a == arm}
        known = {t: score for t, score in scores.items() if score is not None}
        wins = len(known) == len(scores) and trial == max(known, key=lambda t: known[t])
        results.append(TrialResult(arm, trial, accuracies, wins, trial == tuned[arm]))
    return results


def trial_table(results: Sequence[TrialResult]) -> pandas.DataFrame:
    """One row a trial: accuracy in percent at each budget, their mean, who wins, and which one the study names."""
    import pandas

    budgets = sorted({step for one in results for step in one.accuracies})
    rows = []
    for one in results:
        row = {"arm": one.arm, "tried": one.trial}
        row |= {f"{step} steps": _percent(one.accuracies.get(step)) for step in budgets}
        row |= {"mean": _percent(one.score), "best": "best" * one.wins, "in the study": "tuned" * one.is_tuned}
        rows.append(row)
    return pandas.DataFrame(rows).set_index("arm")


def trial_verdicts(results: Sequence[TrialResult]) -> list[str]:
    """A sentence per arm: which trial is best, and whether the study's `tuned` is that one."""
    verdicts = []
    for arm in dict.fromkeys(one.arm for one in results):
        own = [one for one in results if one.arm == arm]
        best = next((one for one in own if one.wins), None)
        tuned = next((one.trial for one in own if one.is_tuned), None)
        if best is None:
            missing = sum(not one.accuracies for one in own)
            verdicts.append(f"{arm}: undecided, because {missing} of {len(own)} trials have not finished")
        elif best.is_tuned:
            verdicts.append(f"{arm}: {best.trial} is best, and the study's tuned says so")
        else:
            stands = f"says {tuned}" if tuned else "is none of the trials"
            verdicts.append(f"{arm}: {best.trial} is best, and the study's tuned {stands}: change it")
    return verdicts


def _accuracies(planned: StudyRun, folder: Path) -> dict[int, float]:
    """Best-temperature accuracy by budget of one finished run; empty for any other."""
    try:
        run = open_run(folder / planned.place)
        evals = run.evals() if run.state == "finished" else []
    except OmniOPDError:
        return {}  # the sweep has named it
    steps = {*planned.recipe.evaluation.at, planned.recipe.training.steps}
    split = planned.recipe.task.test_split
    by_step = {
        step: [e for e in evals if (e.model, e.step, e.split) == ("student", step, split)] for step in sorted(steps)
    }
    return {step: best_temperature(records).accuracy for step, records in by_step.items() if records}


def _mean(runs: Sequence[Mapping[int, float]]) -> dict[int, float]:
    if not runs or not all(runs):
        return {}
    return {step: sum(run[step] for run in runs) / len(runs) for step in runs[0]}


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
