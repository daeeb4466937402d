"""`omniopd train`: a recipe's run in this process or in several, or a stopped run from where it was."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omniopd.cli.composed import add_recipes
from omniopd.costs.consent import keys_first, price_first
from omniopd.errors import ConfigError

if TYPE_CHECKING:
    from omniopd.runs.store import Run

STRATEGY = "ddp"
WAY_OUT = "start it with --yes, or raise teacher.ask_above_usd"


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "train", help="train by a recipe, or resume a run", description=__doc__,
        epilog="examples: omniopd train embedded training.steps=20 audit.samples=4; "
        "omniopd train base.toml over.toml seed=1",
    )  # fmt: skip
    add_recipes(command)
    command.add_argument("--runs", default="runs", metavar="DIR", help="where the new run's folder is made (runs)")
    command.add_argument("--name", help="the new run's folder (by default time and recipe)")
    command.add_argument(
        "--resume",
        metavar="RUN",
        help="continue this run from its newest whole checkpoint; "
        "key=value then changes how it is measured, what it may cost, how long is waited",
    )
    command.add_argument("--merge", action="store_true", help="save a LoRA student merged into its model")
    command.add_argument("--yes", action="store_true", help="do not ask before spending on the teacher")
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.add_argument("--processes", type=int, metavar="N", help="share the work among N processes of this machine")
    command.add_argument("--strategy", default=STRATEGY, metavar="NAME",
                         help="how they share it: ddp (weights whole in each), fsdp2, zero3 (in pieces)")  # fmt: skip
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.io.quiet import quiet_libraries

    if bool(options.recipes) == (options.resume is not None):
        raise ConfigError("train needs a recipe or --resume RUN, and not both: `omniopd recipes` lists recipes")
    if options.processes not in (None, 1):
        return _in_processes(options)
    if options.strategy != STRATEGY:
        raise ConfigError(
            f"--strategy is {options.strategy!r} and --processes {options.processes or 'missing'}: it says how several "
            "processes share the work, so give at least 2 (accelerate launch takes its own file: --config_file)"
        )
    quiet_libraries()
    if options.resume is not None:
        return _resumed(options, options.settings)
    from omniopd.config import compose
    from omniopd.pipeline.processes import meet
    from omniopd.pipeline.readiness import require_ready
    from omniopd.runs.beside import shared_run
    from omniopd.runs.store import create_run

    recipe = compose(options.recipes, options.settings)

    def make() -> Run:
        keys_first(recipe)  # who may say so is asked, before a teacher that may not be sent a key is refused
        require_ready(recipe, merge=options.merge)
        price_first(recipe, yes=options.yes, way_out=WAY_OUT)
        made = create_run(options.runs, recipe, options.name)
        print(made.path, file=sys.stderr)
        return made

    meet(recipe)
    return _executed(shared_run(make), options)


def _resumed(options: argparse.Namespace, settings: Sequence[str]) -> int:
    from omniopd.pipeline.processes import meet
    from omniopd.pipeline.run import reopen
    from omniopd.records import EvalRecord
    from omniopd.runs.beside import shared_run
    from omniopd.runs.files.lines import whole_records
    from omniopd.runs.new_settings import with_new_settings
    from omniopd.runs.store import EVALS, open_run

    def approve(run: Run) -> None:
        evals = whole_records(run.path / EVALS, EvalRecord)
        price_first(run.recipe, yes=options.yes, steps_done=run.status.step, evals=evals, way_out=WAY_OUT)

    def make() -> Run:
        keys_first(recipe)
        # This process's own from here on: nothing that was looked at changes any more.
        return reopen(options.resume, settings, approve=approve, merge=options.merge)

    recipe = with_new_settings(open_run(options.resume), settings).recipe
    meet(recipe)
    return _executed(shared_run(make), options)


def _executed(made: Run, options: argparse.Namespace) -> int:
    from omniopd.io import processes
    from omniopd.pipeline.run import execute

    def work() -> None:
        execute(made, show=not options.quiet, merge=options.merge)

    if processes.is_main():
        code = finished_or_told(made, work)
    else:
        work()
        code = 0
    processes.leave()
    return code


def _in_processes(options: argparse.Namespace) -> int:
    """This command without `--processes`, in so many of them."""
    from omniopd.config import compose
    from omniopd.pipeline.processes import start
    from omniopd.runs.new_settings import with_new_settings
    from omniopd.runs.store import open_run

    if options.resume is None:
        recipe, words = compose(options.recipes, options.settings), [*options.recipes, "--runs", options.runs]
    else:
        stopped = with_new_settings(open_run(options.resume), options.settings)
        recipe, words = stopped.recipe, ["--resume", options.resume]
    words += ["--name", options.name] if options.name else []
    words += [f"--{name}" for name in ("merge", "yes", "quiet") if getattr(options, name)]
    return start(["train", *words, *options.settings], options.processes, options.strategy, recipe)


def finished_or_told(made: Any, work: Any) -> int:
    """Do the work and print what came of it; where it stops early, print how to go on (a run that could not begin has
    left no folder), and let the reason pass."""
    from omniopd.reports.summary import loading_lines, outcome

    try:
        work()
    except BaseException:
        if made.path.is_dir() and made.state not in ("queued", "running", "finished"):
            print(f"\n{stopped_words(made)}", file=sys.stderr)
        raise
    print(outcome(made))
    print(f"\nThe trained student loads with\n{loading_lines(made)}")
    return 0


def stopped_words(made: Any) -> str:
    """Where a run stands and how to go on."""
    status = made.status
    return f"{made.state} at step {status.step} of {status.steps}; go on with: omniopd train --resume {made.path}"
