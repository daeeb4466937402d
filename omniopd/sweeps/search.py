"""Trials that a library proposes: Optuna's TPE, asked anew each time from what the folders of the runs say.

Which trials an arm has had, their recipes say; nothing else is remembered. A sampler is seeded by arm and number, and
told all results that there are, so that a search that was stopped goes on with the trials that it would have had. Those
of the start are drawn at random, all at once; then each arm gets one at a time, and waits for none of another arm.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omniopd.config import Recipe, dotted
from omniopd.errors import ConfigError
from omniopd.runs.files.folders import TRIALS
from omniopd.runs.listing import run_folders
from omniopd.runs.store import open_run
from omniopd.sweeps.needs import library
from omniopd.sweeps.ranges import Range
from omniopd.sweeps.study import Study, StudyArm, slug, tag
from omniopd.sweeps.trials import tried

_DEFAULTS = dotted(Recipe().as_dict())
_DIGITS = 4  # of a value that is tried: what its folder's name says is what it is
_TRIES = 100  # to find a trial that is not there yet


def grown(study: Study, folder: Path, arms: Sequence[str] | None = None, seeds: Sequence[int] | None = None,
          overrides: Sequence[str] = ()) -> Study:  # fmt: skip
    """The study with the trials that its arms have had in `folder`, and the next ones: all of the start, or one where
    those before have finished. The same again where an arm has all of them, or waits for one that has not finished.

    Raises ConfigError where Optuna is missing, or the ranges hold too few values.
    """
    assert study.search is not None
    optuna = library("optuna", '[trials] search = "tpe"', "search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    chosen = [arm.name for arm in study.chosen(arms) if arm.ranges]
    had = {name: _had(optuna, study, study.arms[name], folder) for name in chosen}
    start = {name: had[name] or _more(optuna, study, study.arms[name], {}, 1) for name in chosen}
    known = _with(study, start)
    if not chosen:
        return known
    scores: dict[str, dict[str, float | None]] = {name: {} for name in chosen}
    for result in tried(known, known.trials(chosen, seeds, overrides), folder):
        scores[result.arm][result.trial] = result.score
    trials = {}
    for name in chosen:
        results = {tag(one): (one, scores[name].get(tag(one))) for one in had[name]}
        trials[name] = [*had[name], *_next(optuna, study, study.arms[name], results)]
    return _with(study, trials)


def _with(study: Study, trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> Study:
    arms = {
        name: replace(arm, trials=tuple(trials[name])) if name in trials else arm for name, arm in study.arms.items()
    }
    return replace(study, arms=arms)


def _had(optuna: Any, study: Study, arm: StudyArm, folder: Path) -> list[dict[str, Any]]:
    """What the arm's trials in a folder have tried: those of the start as they were drawn, the others as they began."""
    assert study.search is not None
    drawn = [tag(values) for values in _more(optuna, study, arm, {}, study.search.startup)]
    found: dict[str, tuple[int, str, dict[str, Any]]] = {}
    for path in run_folders(folder / TRIALS / slug(arm.name)):
        run = open_run(path)
        recipe = dotted(run.recipe.as_dict())
        values = {key: recipe[key] for key in arm.ranges}
        name = tag(values)
        place = drawn.index(name) if name in drawn else len(drawn)
        found.setdefault(name, (place, run.manifest.created, values))
    return [values for *_, values in sorted(found.values(), key=lambda each: each[:2])]


def _next(
    optuna: Any, study: Study, arm: StudyArm, results: Mapping[str, tuple[Mapping[str, Any], float | None]]
) -> list[dict[str, Any]]:
    assert study.search is not None
    left = study.search.count - len(results)
    if left <= 0:
        return []
    if len(results) < study.search.startup:
        return _more(optuna, study, arm, results, study.search.startup - len(results))
    if any(score is None for _, score in results.values()):
        return []  # they are resumed first
    return _more(optuna, study, arm, results, 1)


def _more(
    optuna: Any, study: Study, arm: StudyArm, results: Mapping[str, tuple[Mapping[str, Any], float | None]], count: int
) -> list[dict[str, Any]]:
    """`count` trials that are none of those before."""
    assert study.search is not None
    distributions = {key: _distribution(optuna, one) for key, one in arm.ranges.items()}
    at_random = len(results) < study.search.startup
    found: dict[str, dict[str, Any]] = {}
    for attempt in range(_TRIES * count):
        if len(found) == count:
            break
        number = attempt if at_random else len(results) + attempt * study.search.count
        seed = int.from_bytes(hashlib.sha256(f"{arm.name} {number}".encode()).digest()[:4], "big")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is experimental in Optuna
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=study.search.startup, multivariate=True)
        asked = optuna.create_study(direction="maximize", sampler=sampler)
        for values, score in [] if at_random else results.values():
            asked.add_trial(
                optuna.trial.create_trial(params=dict(values), distributions=distributions, value=score)
            )  # fmt: skip
        drawn = asked.ask(distributions).params
        # As a recipe holds them: a whole number of a setting that is none comes back from its run as 47.0.
        values = {key: _short(_as_setting(key, value), arm.ranges[key]) for key, value in drawn.items()}
        if tag(values) not in results:
            found.setdefault(tag(values), values)
    if len(found) < count:
        raise ConfigError(
            f"the ranges of arm {arm.name!r} of {study.name} hold fewer than {study.search.count} trials: lower count "
            "in [trials], or widen them"
        )
    return list(found.values())


def _distribution(optuna: Any, one: Range) -> Any:
    if one.choices:
        return optuna.distributions.CategoricalDistribution(one.choices)
    whole = isinstance(one.low, int) and isinstance(one.high, int) and isinstance(one.step or 1, int)
    if whole:
        return optuna.distributions.IntDistribution(one.low, one.high, log=one.log, step=one.step or 1)
    return optuna.distributions.FloatDistribution(one.low, one.high, log=one.log, step=one.step)


def _as_setting(key: str, value: Any) -> Any:
    return float(value) if type(value) is int and isinstance(_DEFAULTS.get(key), float) else value


def _short(value: Any, one: Range) -> Any:
    """A number in the few digits that its folder's name can hold."""
    if not isinstance(value, float):
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), one.low), one.high)
