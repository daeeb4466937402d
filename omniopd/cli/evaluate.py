"""`omniopd evaluate`: measure a run's student, or any model, on held-out problems."""

from __future__ import annotations

import argparse
import sys
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
    command.add_argument("--recipe", default="embedded", help="says the task and its settings, for a model (embedded)")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.cli.quiet import quiet_libraries
    from omniopd.config import load_recipe, override
    from omniopd.errors import RunError
    from omniopd.runs.store import MANIFEST, open_run

    quiet_libraries()
    if (Path(options.model) / MANIFEST).is_file():
        made = open_run(options.model)
        if not made.student.exists():
            raise RunError(f"{made.path} has no trained student yet: omniopd train --resume {made.path}")
        recipe, model = made.recipe, str(made.student)
    else:
        recipe, model = load_recipe(options.recipe), options.model
    recipe = override(recipe, options.settings)
    recipe = replace(recipe, student=replace(recipe.student, model=model))

    from omniopd.build import build_student, build_task
    from omniopd.evaluation.tables import as_text, report_table
    from omniopd.job import evaluation_plan, measured

    student, task = build_student(recipe), build_task(recipe)
    records = []
    for temperature, samples in evaluation_plan(recipe):
        records.append(measured("model", student, task, recipe, temperature, samples))
        print(f"T={temperature:g}: {100 * records[-1].accuracy:.1f}%", file=sys.stderr)
    title = f"Right answers in percent [95% interval] of {len(records[0].problems)} held-out problems, by temperature"
    print(as_text(report_table({options.model: records}, max(r.samples for r in records)), title))
    return 0
