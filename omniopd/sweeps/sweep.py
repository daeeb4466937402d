"""`omniopd sweep` as functions: a study's arms on its seeds, or a notebook over a grid, a process a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniopd.config import Recipe, assigned, dotted
from omniopd.errors import ConfigError, RunError
from omniopd.launch.devices import device_named, devices_here
from omniopd.launch.notebooks import notebook_path
from omniopd.runs.status import GOING_ON
from omniopd.runs.store import MANIFEST, open_run
from omniopd.sweeps.engine import carry_out, driving
from omniopd.sweeps.executors.local import LocalExecutor
from omniopd.sweeps.grid import NotebookRun, grid_folder, grid_runs
from omniopd.sweeps.job import shell_line
from omniopd.sweeps.plan import Executor, PlannedRun, RunOutcome, state_in
from omniopd.sweeps.study import Study, StudyRun, load_study

_MAY_DIFFER = ("training.threads", "training.device")  # where a run computes, not what


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep of a study did: where, by which plan, and how every run ended."""

    study: Study
    folder: Path
    plan: tuple[StudyRun, ...]
    ended: tuple[RunOutcome, ...]

    @property
    def failed(self) -> list[RunOutcome]:
        return [one for one in self.ended if one.state != "finished"]


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster: "slurm" or "ray"; `words` are `key=value` of what a job asks for, `address` is Ray's (None: the
    cluster that this machine is part of, or else a Ray of its own here)."""

    name: str
    words: Sequence[str] = ()
    address: str | None = None

    def executor(self, tables: Mapping[str, Mapping[str, Any]], recipes: Sequence[Recipe] = ()) -> Executor:
        """Its executor; what neither words nor tables say, the recipes do. Raises ConfigError, as it does."""
        # Jobs of a cluster wait in its queue, and not for a device of the machine that they come to.
        given = {**tables.get(self.name, {}), **assigned(self.words)}
        threads = max((recipe.training.threads or 1 for recipe in recipes), default=1)
        on_cpu = bool(recipes) and all(recipe.training.device == "cpu" for recipe in recipes)
        if self.name == "slurm":
            from omniopd.sweeps.executors.slurm import SlurmExecutor

            return SlurmExecutor({"cpus_per_task": threads, **given}, "cpu" if on_cpu else "none")
        from omniopd.sweeps.executors.ray import RayExecutor

        return RayExecutor(self.address, {"num_cpus": threads, **given}, "cpu" if on_cpu else "none")


def sweep_study(
    study: str | Path,
    runs: str | Path = "runs",
    name: str | None = None,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    settings: Sequence[str] = (),
    jobs: int | None = None,
    devices: Sequence[str] = (),
    trials: bool = False,
    log: Callable[[str], None] = print,
    place: Place | None = None,
) -> Swept:
    """Run what a study still lacks in `runs`/`name` (by default the study's name), `jobs` at a time.

    None means what the study says; for `jobs` one run a device, on CPU as many as the cores allow. `settings` are
    `key=value` words for every run; `place` is a cluster in place of this machine. Raises ConfigError and
    RunError before anything starts, KeyboardInterrupt when it was stopped; runs that did not finish are in `failed`.
    """
    loaded, plan, folder = planned_study(study, runs, name, arms, seeds, settings, trials)
    if trials and loaded.search:
        log(f"{loaded.search.count} trials of each arm are searched for; {len(plan)} runs of them are known")
    log(f"{len(plan)} {'trials' if trials else 'runs'} in {folder}; the same command goes on with what is left")
    if place is None:
        executor: Executor = LocalExecutor(devices_for(plan, jobs, devices))
    else:
        executor = place.executor(loaded.clusters, [one.recipe for one in plan])
    while True:
        done = Swept(loaded, folder, tuple(plan), tuple(carry_out(plan, folder, executor, log)))
        if not (trials and loaded.search) or done.failed:
            return done
        loaded, plan, folder = planned_study(study, runs, name, arms, seeds, settings, trials)
        if len(plan) == len(done.plan):
            return done


def planned_study(
    study: str | Path,
    runs: str | Path = "runs",
    name: str | None = None,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    settings: Sequence[str] = (),
    trials: bool = False,
) -> tuple[Study, list[StudyRun], Path]:
    """A study, what `sweep_study` would run of it, and in which folder. Raises ConfigError, and RunError for a run that
    was begun there with other settings."""
    loaded = load_study(study)
    folder = Path(runs) / (name or loaded.name)
    if trials and loaded.search:
        from omniopd.sweeps.search import grown

        loaded = grown(loaded, folder, arms, seeds, settings)
    plan = (loaded.trials if trials else loaded.runs)(arms, seeds, settings)
    refuse_mixed(plan, folder)
    return loaded, plan, folder


def job_lines(
    plan: Sequence[PlannedRun], folder: Path, device: str | None = None, log: Callable[[str], None] = print
) -> list[str]:
    """A shell command for each run of a plan that is neither finished nor going on, for a queue of one's own.

    Any may be given at any time and again: a job has its run alone, and goes on with it. Raises as `carry_out` does.
    """
    with driving(folder):
        states = {folder / one.place: state_in(folder / one.place) for one in plan}
        todo = [one for one in plan if states[folder / one.place] not in ("finished", *GOING_ON)]
        for one in todo:
            one.prepare(folder / one.place)
    log(f"{len(todo)} of {len(plan)} runs of {folder} are to be done; the same command prints what is left then")
    return [shell_line(folder / one.place, device) for one in todo]


def sweep_notebook(
    notebook: str | Path,
    grid: Mapping[str, Sequence[str]],
    seeds: Sequence[str] = (),
    fixed: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
    name: str | None = None,
    devices: Sequence[str] = ("auto",),
    log: Callable[[str], None] = print,
    place: Place | None = None,
) -> list[RunOutcome]:
    """Run what a notebook's grid still lacks in `runs`/`name` (by default the notebook and a hash of the plan), one run
    at a time on each device. Raises as `sweep_study` does."""
    for device in devices:
        device_named(device)
    plan, folder = planned_grid(notebook, grid, seeds, fixed, runs, name)
    log(f"{len(plan)} runs in {folder}; the same command goes on with what is left")
    executor = LocalExecutor(devices) if place is None else place.executor({})
    return carry_out(plan, folder, executor, log)


def planned_grid(
    notebook: str | Path,
    grid: Mapping[str, Sequence[str]],
    seeds: Sequence[str] = (),
    fixed: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
    name: str | None = None,
) -> tuple[list[NotebookRun], Path]:
    """What `sweep_notebook` would run, and in which folder. Raises as that does."""
    path = notebook_path(notebook)
    plan = grid_runs(path, grid, seeds, fixed or {})
    return plan, grid_folder(runs, path, plan, name)


def refuse_mixed(plan: Sequence[StudyRun], folder: Path) -> None:
    """Raises RunError for a run that was begun with other settings than the plan has, naming the first of them."""
    for planned in plan:
        path = folder / planned.place
        if not (path / MANIFEST).exists():
            continue
        there, wanted = dotted(open_run(path).recipe.as_dict()), dotted(planned.recipe.as_dict())
        key = next((k for k, value in wanted.items() if k not in _MAY_DIFFER and there.get(k) != value), None)
        if key is not None:
            raise RunError(
                f"{path} was run with {key} = {there.get(key)!r}, and the plan says {wanted[key]!r}: give the sweep "
                "another --name, or move that run away"
            )


def devices_for(plan: Sequence[StudyRun], jobs: int | None = None, devices: Sequence[str] = ()) -> list[str]:
    """The device of each run that may go on at once. Raises ConfigError for a device or a number that cannot be."""
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs is {jobs}: run at least one at a time")
    on_cpu = all(planned.recipe.training.device == "cpu" for planned in plan)
    named = [device_named(word) for word in devices] or (["cpu"] if on_cpu else devices_here())
    at_once = len(named)
    if named == ["cpu"]:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        at_once = max(1, cores // max((p.recipe.training.threads or cores for p in plan), default=1))
    return [named[i % len(named)] for i in range(jobs or at_once)]
