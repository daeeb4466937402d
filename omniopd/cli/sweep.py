"""`omniopd sweep`: a notebook over a grid and over seeds, a run each. The same command goes on with what is left."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from omniopd.cli.run import A_TEACHERS_PRICE
from omniopd.errors import ConfigError


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "sweep", help="execute a notebook over a grid", description=__doc__,
        epilog="example: omniopd sweep train --grid steps=10,20 --seeds 0,1,2 -p problems 50. "
        + A_TEACHERS_PRICE,
    )  # fmt: skip
    command.add_argument("notebook", metavar="NOTEBOOK", help="a file, or a shipped notebook's name (train)")
    command.add_argument("--grid", action="append", default=[], metavar="KEY=A,B", help="values of a parameter; often")
    command.add_argument("--seeds", default="", metavar="0,1,2", help="values of the parameter seed")
    command.add_argument("-p", dest="parameters", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"),
                         help="a parameter that is the same in all runs")  # fmt: skip
    command.add_argument("--runs", default="runs", metavar="DIR", help="where the sweep's folder is made (runs)")
    command.add_argument("--name", help="the sweep's folder (by default the notebook and a number of the plan)")
    command.add_argument("--device", default="auto", metavar="NAME,NAME", help="a run at a time on each of these")
    return command


def run(options: argparse.Namespace) -> int:
    from omniopd.cli.run import given_parameters
    from omniopd.launch import notebook_path
    from omniopd.launch.sweep import members, sweep, sweep_folder

    notebook = notebook_path(options.notebook)
    plan = members(notebook, _grid(options.grid), _words(options.seeds), given_parameters(options.parameters))
    path = sweep_folder(options.runs, notebook, plan, options.name)
    print(f"{len(plan)} runs in {path}; the same command goes on with what is left", file=sys.stderr)
    states = sweep(notebook, path, plan, _words(options.device), _say)
    for member in plan:
        print(f"{states[member.name]:12} {path / member.name}")
    return 0 if set(states.values()) == {"finished"} else 1


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _grid(words: list[str]) -> dict[str, list[str]]:
    grid: dict[str, list[str]] = {}
    for word in words:
        key, equals, values = word.partition("=")
        if not equals or not _words(values):
            raise ConfigError(f"--grid {word} is no axis: write key=a,b,c")
        if key in grid:
            raise ConfigError(f"--grid {key} is given twice: write all its values after one =")
        grid[key] = _words(values)
    return grid


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
