"""`omniopd evaluate`: measure a run's student or a model on held-out problems. Stopped, the same command goes on."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "evaluate", help="measure a run's student or a model", description=__doc__,
        epilog="example: omniopd evaluate embedded:teacher evaluation.problems=100",
    )  # fmt: skip
    command.add_argument("model", metavar="RUN|MODEL", help="a run's folder, a model's folder or id, embedded:student")
    command.add_argument("settings", nargs="*", metavar="key=value", help="settings of the recipe to change")
    command.add_argument("--recipe", action="append", metavar="RECIPE", help="says the task and its settings, for a "
                         "model (embedded); again, for one that lies over it")  # fmt: skip
    command.add_argument(
        "--out", metavar="DIR", help="where records are kept, and resumed from (RUN/evaluations/…, evaluations/…)"
    )
    command.add_argument("--quiet", action="store_true", help="no progress")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.io.quiet import quiet_libraries

    quiet_libraries()
    recipe, parent, step = _asked(options)

    from omniopd.evaluation.evaluate import PROBLEM_SEED
    from omniopd.evaluation.folder import EvaluationFolder, everything_asked, place_of, weights_mark
    from omniopd.pipeline.build import build_student, build_task
    from omniopd.pipeline.run import evaluation_plan, measure
    from omniopd.runs.progress import Measuring

    if recipe.training.threads:
        import torch

        torch.set_num_threads(recipe.training.threads)
    task = build_task(recipe)
    held_out = task.prompts(recipe.task.test_split, recipe.evaluation.problems or None, PROBLEM_SEED)
    student = build_student(recipe)
    mark = weights_mark(student.name, getattr(student.model.config, "_commit_hash", None))
    asked = everything_asked(recipe, mark, step)
    stored = EvaluationFolder(Path(options.out) if options.out else place_of(parent, options.model, asked), asked)
    plan, records = evaluation_plan(recipe), []
    bar = Measuring(plan, len(held_out)) if not options.quiet and sys.stderr.isatty() else None
    counted = None if bar is not None or options.quiet else Counting()
    try:
        for temperature, samples in plan:
            record = stored.found(temperature)
            if bar is not None:
                bar.begin(temperature)
            if record is None:
                shown = None if bar is None else bar.show
                record = measure(
                    "model", student, task, recipe, temperature, samples, step=step, keep=stored.unfinished,
                    on_results=shown, progress=counted,
                )
                stored.add(record)
            elif bar is not None:
                bar.show(record.problems, True)
            records.append(record)
            if counted is not None:
                print(f"temperature {temperature:g}: {100 * record.accuracy:.1f}%", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"\nstopped; the same command resumes from {stored.folder}", file=sys.stderr)
        raise
    finally:
        if bar is not None:
            bar.close()
    _tell(records, options.model)
    print(f"seed {recipe.seed}, at most {recipe.student.max_tokens} tokens an answer; kept in {stored.folder}")
    return 0


class Counting:
    """Progress as plain lines, where no bar can be drawn; at most one every ten seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, done: int, every: int) -> None:
        if time.monotonic() - self._said >= 10 and done < every:
            self._said = time.monotonic()
            print(f"{done:,} of {every:,} answers", file=sys.stderr, flush=True)


def _asked(options: argparse.Namespace) -> tuple[Any, Path, int]:
    """The recipe with the model in the student's place, where evaluations stand, and the steps it was trained for."""
    from omniopd.config import compose, override
    from omniopd.errors import RunError
    from omniopd.runs.files.folders import EVALUATIONS
    from omniopd.runs.store import MANIFEST, open_run

    parent, step = Path(EVALUATIONS), 0
    if (Path(options.model) / MANIFEST).is_file() or _is_a_place_of_runs(Path(options.model)):
        made = open_run(options.model)
        if not made.student.exists():
            raise RunError(f"{made.path} has no trained student yet: omniopd train --resume {made.path}")
        recipe, model, parent = override(made.recipe, options.settings), str(made.student), made.path / EVALUATIONS
        step = made.recipe.training.steps
    else:
        recipe, model = compose(options.recipe or ["embedded"], options.settings), options.model
    return replace(recipe, student=replace(recipe.student, model=model)), parent, step


def _is_a_place_of_runs(path: Path) -> bool:
    """Whether a name that no folder has can only be meant as a run's: one in the usual folder of runs, or beside some.
    The hub would be asked for it for a minute otherwise."""
    from omniopd.runs.store import MANIFEST

    beside = path.parent
    if path.exists() or beside == Path():  # a model of the hub may have one word as its name
        return False
    return beside == Path("runs") or next(beside.glob(f"*/{MANIFEST}"), None) is not None


def _tell(records: Sequence[Any], model: str) -> None:
    from omniopd.evaluation.tables import as_text, temperature_table

    title = f"{model} on {len(records[0].problems)} held-out problems of {records[0].task}, in percent [95% interval]"
    print(as_text(temperature_table(records), title))
    reasons = Counter(reason for record in records for reason in record.failures)
    for reason, count in reasons.most_common(3):
        print(f"the grader failed on {count} answers, counted as wrong: {reason}")
