"""What a run will take, said before it starts: minutes as the last like it took here, dollars of a teacher's tokens.

Reads runs and recipes. What a teacher behind an API costs is counted in `omniopd.costs.recipe`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from omniopd.config import Recipe, TaskConfig
from omniopd.config.sees import Sees
from omniopd.errors import OmniOPDError
from omniopd.io.units import dollars, duration
from omniopd.launch.launched import launched_in
from omniopd.launch.parameters import Parameter, all_values, recipe_with
from omniopd.runs.files.folders import STATUS
from omniopd.runs.listing import run_folders
from omniopd.runs.store import open_run
from omniopd.runs.totals import step_seconds
from omniopd.teachers.model_traits import runs_here

_LOOKED_AT = 20  # runs, the newest first
_PATIENCE_S = 30.0
_COUNTER = ThreadPoolExecutor(1, thread_name_prefix="estimates")
_counting: dict[tuple[str, TaskConfig, int, Sees], Future[float]] = {}


@dataclass(frozen=True, slots=True)
class LaunchEstimate:
    """`seconds` and `usd` are None where they are not known; `time` and `price` say it in words, with the source."""

    seconds: float | None
    time: str
    usd: float | None
    price: str

    @property
    def is_paid(self) -> bool:
        """Whether the run may cost money."""
        return self.usd is None or self.usd > 0


def estimate(
    folder: Path, notebook: Path, parameters: Sequence[Parameter], values: Mapping[str, Any]
) -> LaunchEstimate:
    """Time and price of a notebook with these values, launched into `folder`. Sends nothing."""
    try:
        recipe = recipe_with(all_values(parameters, values))
    except OmniOPDError:
        return LaunchEstimate(None, "unknown until the fields are right", 0.0, "")
    if recipe is None:
        return LaunchEstimate(*_time_of_notebook(folder, notebook), 0.0, "free, as far as its parameters tell")
    return LaunchEstimate(*_time(folder, recipe), *_price(recipe))


@dataclass(frozen=True, slots=True)
class _Took:
    """What a finished run took: seconds of a step on average, seconds of measuring so many problems."""

    recipe: str
    method: str
    step: float
    measuring: float
    problems: int


def _time(folder: Path, recipe: Recipe) -> tuple[float | None, str]:
    for took in _finished(folder):
        if (took.recipe, took.method) != (recipe.name, recipe.method) or not took.step:
            continue
        problems = recipe.evaluation.problems or took.problems
        steps, measuring = recipe.training.steps, took.measuring * problems / took.problems
        return steps * took.step + measuring, (
            f"about {duration(steps * took.step + measuring)}: {steps} steps of {duration(took.step)} and "
            f"{duration(measuring)} of measuring, as in the last run of {recipe.name} here"
        )
    return None, f"unknown: no run of {recipe.name} has finished here yet"


def _time_of_notebook(folder: Path, notebook: Path) -> tuple[float | None, str]:
    for launched in launched_in(folder)[:_LOOKED_AT]:
        process = launched.process
        try:
            executed = launched.launch.notebook
        except OmniOPDError:
            continue  # the run browser shows it
        if executed == notebook.name and process.exit_code == 0 and process.began:
            seconds = process.ended - process.began
            return seconds, f"about {duration(seconds)}, as this notebook took the last time here"
    return None, "unknown: this notebook has not been executed here yet"


def _price(recipe: Recipe) -> tuple[float | None, str]:
    teacher = recipe.teacher
    if runs_here(teacher.model):
        return 0.0, "free: the teacher runs on this machine"
    if teacher.replay:
        return 0.0, "free: the teacher's recorded answers are replayed"
    try:
        found = _counted(recipe)
    except TimeoutError:
        return None, "not known yet: the problems are being loaded and counted; change a field to look again"
    except OmniOPDError as error:
        return None, f"unknown: {error}"
    if not found.calls:
        return 0.0, "free: this method asks no teacher for text"
    budget = f", of which {dollars(teacher.budget_usd)} may be spent at most" if teacher.budget_usd else ""
    return found.usd, f"{found}{budget}"


def _counted(recipe: Recipe) -> Any:
    """The estimate that the run itself will say first. A form waits `_PATIENCE_S` for problems and tokenizer of a new
    task, once: TimeoutError says that they are still being loaded."""
    key = recipe.student.model, recipe.task, recipe.seed, recipe.teacher.shown
    begun = key not in _counting
    if begun:
        _counting[key] = _COUNTER.submit(lambda: _pricing().prompt_tokens(recipe))
    try:
        _counting[key].result(_PATIENCE_S if begun else 0)
    except OmniOPDError:
        del _counting[key]  # asked again at the next look: a network comes back
        raise
    return _pricing().estimate_of(recipe)


def _pricing() -> Any:
    # By its name, because views read estimates, and views know no torch.
    return importlib.import_module("omniopd.costs.recipe")


def _finished(folder: Path) -> list[_Took]:
    """What runs that have finished took, the newest first."""
    found = [(stamp, path) for path in run_folders(folder) if (stamp := _stamp(path)) is not None]
    newest = sorted(found, reverse=True)[:_LOOKED_AT]
    return [took for stamp, path in newest if (took := _took(path, stamp)) is not None]


def _stamp(path: Path) -> float | None:
    try:
        return (path / STATUS).stat().st_mtime
    except OSError:
        return None


@lru_cache(maxsize=256)
def _took(path: Path, stamp: float) -> _Took | None:
    """None for a run that has not finished, or cannot be read; `stamp` is when its status was written."""
    try:
        run = open_run(path)
        if run.state != "finished":
            return None
        recipe, steps = run.manifest.recipe, run.steps()
        evals = run.evals()
        took = [step_seconds(step) for step in steps]
        return _Took(
            str(recipe.get("name")), str(recipe.get("method")), sum(took) / max(1, len(took)),
            sum(record.seconds for record in evals), max((len(record.problems) for record in evals), default=1) or 1,
        )  # fmt: skip
    except OmniOPDError:
        return None  # the run browser shows it
