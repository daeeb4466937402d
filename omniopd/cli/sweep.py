"""`omniopd sweep`: a study's arms on its seeds, or a notebook over a grid; a run each. The same command
resumes what is left."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import Any

from omniopd.cli.place import one_device, print_lines, where
from omniopd.cli.run import A_TEACHERS_PRICE
from omniopd.errors import ConfigError


def add_parser(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "sweep", help="run a study, or a notebook over a grid", description=__doc__,
        epilog="examples: omniopd sweep embedded --arms labels white_box --seeds 0,1; "
        "omniopd sweep embedded --trials; omniopd sweep train --grid steps=10,20 --seeds 0,1,2 -p problems 50. "
        + A_TEACHERS_PRICE,
    )  # fmt: skip
    command.add_argument("notebook", metavar="STUDY|NOTEBOOK", help="a file (.toml, .ipynb) or a shipped name")
    command.add_argument("--seeds", default="", metavar="0,1,2", help="a study: instead of every arm's own; a "
                         "notebook: values of its parameter seed")  # fmt: skip
    command.add_argument("--runs", default="runs", metavar="DIR", help="where the sweep's folder is made (runs)")
    command.add_argument("--name", help="the sweep's folder (the study; the notebook and a number of the plan)")
    command.add_argument("--device", default="auto", metavar="NAME,NAME", help="runs at a time on each of these")
    command.add_argument("--print-jobs", action="store_true", help="start nothing; print a shell command a line for "
                         "each run that is left, for any queue")  # fmt: skip
    cluster = command.add_argument_group("on a cluster (pip install omniopd[cluster]), on a file system that it shares")
    cluster.add_argument("--executor", choices=("local", "slurm", "ray"), default="local", help="where jobs run")
    cluster.add_argument("--slurm", nargs="+", action="extend", default=[], metavar="key=value",
                         help="what a job asks for, in submitit's words: timeout_min=240 partition=gpu "
                         "gpus_per_node=1; cluster=local tries the same on this machine")  # fmt: skip
    cluster.add_argument("--address", metavar="HOST:PORT", help="the Ray cluster; auto: the one that this machine is "
                         "part of (that one, or where there is none a Ray of the sweep's own here)")  # fmt: skip
    cluster.add_argument("--ray", nargs="+", action="extend", default=[], metavar="key=value",
                         help="what a task asks for, in Ray's words: num_cpus=4 num_gpus=0.5")  # fmt: skip
    study = command.add_argument_group("of a study")
    study.add_argument("--arms", nargs="+", metavar="ARM", help="only these")
    study.add_argument("--set", dest="settings", nargs="+", action="extend", metavar="key=value",
                       help="settings of every run, above all others")  # fmt: skip
    study.add_argument("--jobs", type=int, metavar="N", help="runs at a time (one a device; on CPU cores / threads)")
    study.add_argument("--trials", action="store_true", help="run what chooses the rates, and say which one wins")
    notebook = command.add_argument_group("of a notebook")
    notebook.add_argument("--grid", action="append", default=[], metavar="KEY=A,B",
                          help="values of a parameter; repeatable")  # fmt: skip
    notebook.add_argument("-p", dest="parameters", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"),
                          help="a parameter that is the same in all runs")  # fmt: skip
    return command


def run(options: argparse.Namespace) -> int:
    of_study = [word for word in ("arms", "settings", "jobs", "trials") if getattr(options, word)]
    of_notebook = [word for word in ("grid", "parameters") if getattr(options, word)]
    is_study = _is_study(options.notebook)
    if odd := of_notebook if is_study else of_study:
        flag = {"settings": "--set", "parameters": "-p"}.get(odd[0], f"--{odd[0]}")
        kind, other = ("study", "notebook") if is_study else ("notebook", "study")
        raise ConfigError(f"{flag} belongs to a {other}, and {options.notebook} is a {kind}: leave it out")
    if is_study:
        from omniopd.cli import study

        return study.run(options, _log)
    return _notebook(options)


def _is_study(name: str) -> bool:
    from omniopd.launch.notebooks import shipped_files
    from omniopd.sweeps.study import shipped_studies

    studies = {path.stem for path in shipped_studies()}
    near = difflib.get_close_matches(name, studies, 1)
    if near and name not in {*studies, *(path.stem for path in shipped_files())} and not Path(name).exists():
        raise ConfigError(f"no study and no notebook {name!r}: did you mean {near[0]!r}?")
    return name.endswith(".toml") or name in studies


def _notebook(options: argparse.Namespace) -> int:
    from omniopd.cli.run import given_parameters
    from omniopd.sweeps import job_lines, planned_grid, sweep_notebook

    grid, seeds, devices = _grid(options.grid), _words(options.seeds), _words(options.device)
    fixed = given_parameters(options.parameters)
    if options.print_jobs:
        plan, folder = planned_grid(options.notebook, grid, seeds, fixed, options.runs, options.name)
        return print_lines(job_lines(plan, folder, one_device(options), _log))
    place = where(options)
    ended = sweep_notebook(options.notebook, grid, seeds, fixed, options.runs, options.name, devices, _log, place)
    for one in ended:
        print(f"{one.state:12} {one.path}")
    return 0 if all(one.state == "finished" for one in ended) else 1


def _log(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _grid(words: list[str]) -> dict[str, list[str]]:
    grid: dict[str, list[str]] = {}
    for word in words:
        key, equals, values = word.partition("=")
        if not equals or not _words(values):
            raise ConfigError(f"--grid {word} is not an axis: write key=a,b,c")
        if key in grid:
            raise ConfigError(f"--grid {key} is given twice: write all its values after one =")
        grid[key] = _words(values)
    return grid


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
