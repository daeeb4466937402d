"""All runs in a folder as one table, a row a run. Reads; knows nothing of how runs are started or drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniopd.errors import RunError
from omniopd.records import EvalRecord
from omniopd.runs.store import MANIFEST, Run, open_run

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "name", "method", "target", "control", "student", "teacher", "seed", "state", "step", "steps", "loss",
    "accuracy_before", "best_accuracy", "gain", "teacher_tokens", "cost_usd", "created", "message", "path",
)  # fmt: skip
UNREADABLE = "unreadable"


def runs(folder: str | Path) -> pandas.DataFrame:
    """One row a run directly inside `folder`, oldest first, indexed by the directory's name.

    `best_accuracy` is the best over temperatures after the last evaluated step, `accuracy_before` the same for the
    untrained student (shares, NaN where not evaluated); `loss` is the last; tokens and dollars are sums over the steps
    that count. A run that cannot be read keeps its row, with state "unreadable" and the reason. Raises RunError where
    there is no such folder.
    """
    import pandas

    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder: give the one that holds the runs")
    rows = [row(file.parent) for file in sorted(folder.glob(f"*/{MANIFEST}"))]
    rows.sort(key=lambda facts: (facts["created"], facts["path"]))
    index = pandas.Index([Path(facts["path"]).name for facts in rows], name="run", dtype="object")
    return pandas.DataFrame(rows, columns=list(COLUMNS), index=index)


def row(path: Path) -> dict[str, Any]:
    """One run as a row of `runs`, by the names of its columns; never raises for what is damaged inside."""
    empty: dict[str, Any] = dict.fromkeys(COLUMNS)
    empty |= {"name": path.name, "created": "", "path": str(path), "message": "", "state": UNREADABLE}
    try:
        return empty | _facts(open_run(path))
    except RunError as error:
        return empty | {"message": str(error)}
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        # Files of another program, or of a version to come: JSON, and yet no run that this one knows.
        return empty | {"message": f"{path} holds no run that can be read: {type(error).__name__}: {error}"}


def best_accuracies(evals: Sequence[EvalRecord], model: str = "student") -> tuple[float, float]:
    """Best accuracy over temperatures of `model` untrained (step 0) and after its last evaluated step; NaN without."""
    own = [record for record in evals if record.model == model and record.problems]
    last = max((record.step for record in own), default=0)
    before = max((record.accuracy for record in own if record.step == 0), default=math.nan)
    after = max((record.accuracy for record in own if record.step == last), default=math.nan) if last else math.nan
    return before, after


def _facts(run: Run) -> dict[str, Any]:
    recipe = run.manifest.recipe

    def setting(section: str, key: str) -> Any:
        return recipe.get(section, {}).get(key)

    status, steps = run.status, run.steps()
    before, after = best_accuracies(run.evals())
    return {
        "name": run.manifest.name,
        "method": recipe.get("method"),
        "target": setting("objective", "target"),
        "control": setting("objective", "control"),
        "student": setting("student", "model"),
        "teacher": setting("teacher", "model"),
        "seed": run.manifest.seed,
        "state": run.state,
        "step": status.step,
        "steps": status.steps,
        "loss": steps[-1].loss if steps else math.nan,
        "accuracy_before": before,
        "best_accuracy": after,
        "gain": after - before,
        "teacher_tokens": sum(step.input_tokens + step.output_tokens for step in steps),
        "cost_usd": sum(step.cost_usd for step in steps),
        "created": run.manifest.created,
        "message": status.message,
    }
