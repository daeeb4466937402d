"""`omniopd run`: any notebook, executed in a process of its own, its run in a folder that says how it stands."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from omniopd.errors import ConfigError

A_TEACHERS_PRICE = (
    "A teacher behind an API costs money, and what a notebook asks of one is known to the notebook alone: train.ipynb "
    "says the price first, and ends there if it is above teacher.ask_above_usd and -p accept_usd is lower; a notebook "
    "of your own does so if it calls price_first(recipe, accept_usd) of omniopd.costs.consent, and asks at once if it "
    "does not."
)


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "run", help="execute a notebook as a run", description=__doc__,
        epilog="example: omniopd run train -p steps 20 -p seed 1; the exit code is 0 where it finished, 1 where a cell "
        f"failed, 130 where it was interrupted, 137 where its kernel was killed. {A_TEACHERS_PRICE}",
    )  # fmt: skip
    command.add_argument("notebook", nargs="?", metavar="NOTEBOOK", help="a file, or a shipped notebook's name (train)")
    command.add_argument("-p", dest="parameters", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"),
                         help="a parameter of the notebook; as often as needed")  # fmt: skip
    command.add_argument("--runs", default="runs", metavar="DIR", help="where the new run's folder is made (runs)")
    command.add_argument("--name", help="the new run's folder (by default time and notebook)")
    command.add_argument("--resume", metavar="RUN", help="execute a stopped run's notebook again, from its checkpoint")
    command.add_argument("--device", metavar="NAME", help="auto, cpu, cuda:0, mps; runs queue for it; none: no queue")
    command.add_argument("--detach", action="store_true", help="start it and return; watch it with a monitor")
    return command


def run(options: argparse.Namespace) -> int:
    if (options.notebook is None) == (options.resume is None):
        raise ConfigError("run needs a NOTEBOOK or --resume RUN, and not both")
    from omniopd.launch import launch, resume, watch

    if options.resume is not None:
        if options.parameters or options.name:
            raise ConfigError("--resume keeps the parameters and the name of the run: leave out -p and --name")
        launched = resume(options.resume, options.device)
    else:
        parameters = given_parameters(options.parameters)
        launched = launch(options.notebook, parameters, options.runs, options.name, options.device or "auto")
    print(launched.path, file=sys.stderr if not options.detach else sys.stdout)
    if options.detach:
        print(f"It goes on by itself; end it with: omniopd stop {launched.path}", file=sys.stderr)
        return 0
    try:
        code = watch(launched)
    except KeyboardInterrupt:
        print(f"\n{how_it_ended(launched)}", file=sys.stderr)
        raise
    print(how_it_ended(launched), file=sys.stderr)
    return code


def given_parameters(pairs: list[list[str]]) -> dict[str, str]:
    """The words after -p. Raises ConfigError for a parameter given twice."""
    given: dict[str, str] = {}
    for key, value in pairs:
        if key in given:
            raise ConfigError(f"-p {key} is given twice, as {given[key]!r} and as {value!r}: give it once")
        given[key] = value
    return given


def how_it_ended(launched: Any) -> str:
    """One line on how a run ended and what to do next."""
    status = launched.status
    words = launched.state
    if status.steps:
        words += f" at step {status.step} of {status.steps}"
    if status.message and launched.state != "finished":
        words += f": {status.message}"
    if launched.state == "finished":
        return f"{words}; the executed notebook: {launched.notebook}"
    return f"{words}; its own words: {launched.log}; go on with: omniopd run --resume {launched.path}"
