"""`omniopd demo`: the main job. A tiny student learns from a tiny teacher, in a notebook that is kept with the run."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Any

from omniopd.cli.composed import add_recipes

NOTEBOOK, BASE = "train", "embedded"


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "demo", help="a tiny student learns from a tiny teacher", description=__doc__
    )
    add_recipes(command, f"TOML files that lie over the recipe {BASE}; then settings to change")
    command.add_argument("--runs", default="runs", metavar="DIR", help="where the new run's folder is made (runs)")
    command.add_argument("--yes", action="store_true", help="do not ask before spending on the teacher")
    command.add_argument("--processes", type=int, default=1, metavar="N", help="share the training among N processes")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.cli.train import WAY_OUT, stopped_words
    from omniopd.config import compose
    from omniopd.config.sharing import micro_batches
    from omniopd.costs.consent import keys_first, price_first
    from omniopd.embedded.study import beside
    from omniopd.errors import RunError
    from omniopd.launch import launch, watch
    from omniopd.pipeline.readiness import require_ready
    from omniopd.reports.html import html_page
    from omniopd.reports.summary import loading_lines, outcome
    from omniopd.runs.progress import Progress
    from omniopd.runs.store import RECIPE, create_run

    recipe = compose([BASE, *options.recipes], options.settings)
    micro_batches(recipe.training.rollouts, recipe.training.micro_batch, options.processes)
    keys_first(recipe)
    require_ready(recipe)
    priced = price_first(recipe, yes=options.yes, way_out=WAY_OUT)
    made = create_run(options.runs, recipe)
    print(f"The run, with its notebook and its records: {made.path}", file=sys.stderr)
    parameters = {
        "recipe": str(made.path / RECIPE),
        "steps": recipe.training.steps,
        "problems": recipe.evaluation.problems,
        "seed": recipe.seed,
        "teacher": recipe.teacher.model,
        "folder": options.runs,
        "run": str(made.path),
        "processes": options.processes,
        "accept_usd": None if priced is None else priced.usd or 0.0,
    }
    launched = launch(NOTEBOOK, parameters, run=made)
    try:
        code = watch(launched, Progress(recipe.training.steps))
    except KeyboardInterrupt:
        print(f"\n{stopped_words(made)}", file=sys.stderr)
        raise
    if launched.notebook.exists():
        page = html_page(launched.notebook, title=f"OmniOPD: {made.manifest.name}")
    if code or made.state != "finished":
        reason = made.status.message or _last_line(launched.log.read_text(encoding="utf-8", errors="replace"))
        raise RunError(f"{reason} ({stopped_words(made)}; the notebook's own words: {launched.log})")
    print(outcome(made))
    if replace(recipe, seed=0) == compose([BASE]):  # what it is set beside was learnt from as many answers
        print("Beside it, from the recorded study of this lab (docs/results.md):", *beside(), sep="\n  ")
    print(f"\nThe run as a page: {page}\nThe trained student loads with\n{loading_lines(made)}")
    return 0


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "the notebook ended without a word"
