"""All runs in a folder, at any depth, as one table with a row each. Reads only."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniopd.config.arms import arm_mark
from omniopd.errors import ConfigError, RunError
from omniopd.records import EvalRecord, latest_per_temperature
from omniopd.runs.files.atomic import read_file
from omniopd.runs.files.claims import EXECUTING
from omniopd.runs.files.folders import MANIFEST, RECIPE, STATUS, STEPS, TRIALS
from omniopd.runs.mirror import here
from omniopd.runs.notes import notes_of
from omniopd.runs.remembered import RememberedRows
from omniopd.runs.status import GOING_ON, read_status, state_of
from omniopd.runs.store import Run, open_run
from omniopd.runs.totals import totals

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "name", "arm", "method", "target", "control", "student", "teacher", "seed", "state", "step", "steps", "loss",
    "accuracy_before", "best_accuracy", "gain", "greedy", "samples", "student_tokens", "teacher_tokens", "teacher_read",
    "teacher_written", "cost_usd", "seconds", "created", "message", "settings", "path",
)  # fmt: skip
SAID = ("tags", "note", "title")
UNREADABLE = "unreadable"
_MOST = 2**31  # answers of a step; more are none
_LAUNCH = Path(EXECUTING).with_name("launch.json")  # what was launched into a folder


def table(folder: str | Path) -> pandas.DataFrame:
    """One row a run in `folder`, at any depth (runs/embedded/labels/seed=3), oldest first, indexed by its place in it.

    `arm` is the recipe's name, the same for the seeds of an arm; `settings` is a mark, equal for runs that differ in
    nothing but their seed. `best_accuracy` is the best over temperatures after the last evaluated step, `greedy` that
    at temperature 0, `accuracy_before` the best of the untrained student (shares, NaN where not evaluated); `loss` is
    the last. `samples` are student samples so far; tokens, dollars and seconds of training are sums over the steps that
    count. `tags`, `note` and `title` are what people have said of the run (`omniopd.runs.notes`). A run that cannot be
    read keeps its row, with state "unreadable" and the reason; so does a launched notebook that has made no run, with
    the state of its process.
    `folder` may be an address that fsspec knows (s3://bucket/runs), whose records are copied here first (`mirror`).
    Raises RunError where there is no such folder.
    """
    import pandas

    folder = here(folder)
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder: give the one that holds the runs")
    remembered = RememberedRows(folder, COLUMNS)
    rows = [known_row(remembered, path) | said_of(path) for path in listed_folders(folder)]
    remembered.save()
    rows.sort(key=lambda facts: (facts["created"], facts["path"]))
    places = [Path(facts["path"]).relative_to(folder).as_posix() for facts in rows]
    index = pandas.Index(places, name="run", dtype="object")
    return pandas.DataFrame(rows, columns=[*COLUMNS, *SAID], index=index)


def run_folders(folder: str | Path) -> list[Path]:
    """The run directories in `folder`, at any depth, or `folder` itself where it is one; ascending.

    What a run directory holds is not looked into: neither checkpoints nor what a resumed run has set aside.
    """
    return [path for path in listed_folders(folder) if os.path.lexists(path / MANIFEST)]


def result_runs(places: Iterable[str | Path]) -> list[Path]:
    """The runs in these folders, each once; the trials of a study only where their own folder is given. Raises
    ConfigError for a place without any."""
    paths: dict[Path, None] = {}
    for place in map(here, places):
        inside = [path for path in run_folders(place) if TRIALS not in path.relative_to(place).parts]
        if not inside:
            raise ConfigError(f"{place} holds no run: give a run's folder, or one with runs in it")
        paths |= dict.fromkeys(inside)
    return list(paths)


def listed_folders(folder: str | Path) -> list[Path]:
    """The runs, and what has a row without being a run: a launched notebook that has made none, and what was left of a
    run without its manifest."""
    found = []
    for place, inside, files in os.walk(folder):
        names = {*files, *inside}
        if not names.isdisjoint({MANIFEST, RECIPE, STATUS, STEPS}):
            found.append(Path(place))
            inside.clear()
    return sorted(found)


def known_row(remembered: RememberedRows, path: Path) -> dict[str, Any]:
    """The row of a run, read only where its files have changed or it is going on."""
    marks, known = remembered.get(path)
    # A process may die without writing a word, so a run in progress is looked at each time.
    if known is None or known["state"] in GOING_ON:
        known = row(path)
        remembered.put(path, marks, known, known["state"] not in (*GOING_ON, UNREADABLE))
    return known


def said_of(path: Path) -> dict[str, str]:
    """A run's tags, parted by spaces, its note, or why these cannot be read, and its title."""
    try:
        notes = notes_of(path)
    except RunError as error:
        return {"tags": "", "note": str(error), "title": ""}
    return {"tags": " ".join(notes.tags), "note": notes.note, "title": notes.title}


def row(path: Path, results: bool = True) -> dict[str, Any]:
    """One run as a row of `table`, by the names of its columns; never raises for what is damaged inside. Without
    `results` its steps and evaluations, which take long to read, are left out."""
    empty: dict[str, Any] = dict.fromkeys(COLUMNS)
    empty |= {"name": path.name, "created": "", "path": str(path), "message": "", "state": UNREADABLE}
    try:
        is_run = os.path.lexists(path / MANIFEST) or not (path / _LAUNCH).is_file()
        return empty | (_facts(open_run(path), results) if is_run else _facts_of_notebook(path))
    except RunError as error:
        return empty | {"message": str(error)}
    except Exception as error:
        # Files of another program, of a later version, or of an attacker: one run must not hide the others.
        return empty | {"message": f"{path} holds no run that can be read: {type(error).__name__}: {error}"}


def best_accuracies(evals: Sequence[EvalRecord], split: str) -> tuple[float, float]:
    """Best accuracy over temperatures of the student untrained (step 0) and after its last evaluated step; NaN without.

    On the problems of `split` ("": any); of several evaluations at a temperature the one with the most answers counts.
    """
    last, after = _last(evals, split)
    first = [r for r in evals if (r.model, r.step) == ("student", 0) and split in ("", r.split)]
    before = max((record.accuracy for record in latest_per_temperature(first) if record.problems), default=math.nan)
    return before, max((record.accuracy for record in after), default=math.nan) if last else math.nan


def _facts_of_notebook(path: Path) -> dict[str, Any]:
    """A notebook that makes no run, or none yet: where its process stands."""
    launch = json.loads(read_file(path / _LAUNCH).decode())
    status = read_status(path / STATUS)
    return {
        "arm": Path(str(launch["notebook"])).stem,
        "state": state_of(status, path),
        "created": str(launch.get("created", "")),
        "message": status.message,
    }


def _facts(run: Run, results: bool) -> dict[str, Any]:
    recipe = run.manifest.recipe

    def setting(section: str, key: str) -> Any:
        value = recipe.get(section, {}).get(key)
        if isinstance(value, str | int | float | None):
            return value
        raise RunError(
            f"{run.path / MANIFEST} says that {section}.{key} is {str(value)[:40]}: it is not a setting's value"
        )

    status, steps, evals = run.status, run.steps() if results else [], run.evals() if results else []
    before, after = best_accuracies(evals, run.test_split)
    rollouts = setting("training", "rollouts")
    rollouts = rollouts if isinstance(rollouts, int) and 0 <= rollouts < _MOST else 0
    took = totals(steps, rollouts)
    return {
        "name": run.manifest.name,
        "arm": str(recipe.get("name") or ""),
        "method": str(recipe.get("method") or ""),
        "target": setting("objective", "target"),
        "control": setting("objective", "control"),
        "student": setting("student", "model"),
        "teacher": setting("teacher", "model"),
        "seed": run.manifest.seed,
        "state": state_of(status, run.path),
        "step": status.step,
        "steps": status.steps,
        "loss": steps[-1].loss if steps else math.nan,
        "accuracy_before": before,
        "best_accuracy": after,
        "gain": after - before,
        "greedy": _greedy(evals, run.test_split),
        "samples": status.step * rollouts,
        "student_tokens": took.student_tokens,
        "teacher_tokens": took.teacher_read + took.teacher_written,
        "teacher_read": took.teacher_read,
        "teacher_written": took.teacher_written,
        "cost_usd": took.usd,
        "seconds": took.seconds,
        "created": run.manifest.created,
        "message": status.message,
        "settings": arm_mark(recipe),
    }


def _greedy(evals: Sequence[EvalRecord], split: str) -> float:
    """Accuracy at temperature 0 after the last evaluated step; NaN without."""
    last, after = _last(evals, split)
    return max((r.accuracy for r in after if r.temperature == 0), default=math.nan) if last else math.nan


def _last(evals: Sequence[EvalRecord], split: str) -> tuple[int, list[EvalRecord]]:
    """The last evaluated step of the student, and its evaluations there, one a temperature."""
    own = [r for r in evals if r.model == "student" and r.problems and split in ("", r.split)]
    last = max((record.step for record in own), default=0)
    return last, latest_per_temperature(record for record in own if record.step == last)
