"""`omniopd sweep` as functions: a study's arms on its seeds, or a notebook over a grid, a process a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniopd.config import dotted
from omniopd.errors import ConfigError, RunError
from omniopd.launch.devices import device_named, devices_here
from omniopd.launch.notebooks import notebook_path
from omniopd.runs.store import MANIFEST, open_run
from omniopd.sweeps.executors import LocalExecutor
from omniopd.sweeps.grid import grid_folder, grid_runs
from omniopd.sweeps.plan import Executor, RunOutcome
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
) -> Swept:
    """Run what a study still lacks in `runs`/`name` (by default the study's name), `jobs` at a time.

    None means what the study says; for `jobs` one run a device, on CPU as many as the cores allow. `settings` are
    `key=value` words for every run. Raises ConfigError and RunError before anything starts, KeyboardInterrupt when it
    was stopped; runs that did not finish are in `failed`.
    """
    loaded = load_study(study)
    plan = (loaded.trials if trials else loaded.runs)(arms, seeds, settings)
    folder = Path(runs) / (name or loaded.name)
    log(f"{len(plan)} {'trials' if trials else 'runs'} in {folder}; the same command goes on with what is left")
    refuse_mixed(plan, folder)
    executor: Executor = LocalExecutor(devices_for(plan, jobs, devices), log)
    return Swept(loaded, folder, tuple(plan), tuple(executor.run(plan, folder)))


def sweep_notebook(
    notebook: str | Path,
    grid: Mapping[str, Sequence[str]],
    seeds: Sequence[str] = (),
    fixed: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
    name: str | None = None,
    devices: Sequence[str] = ("auto",),
    log: Callable[[str], None] = print,
) -> list[RunOutcome]:
    """Run what a notebook's grid still lacks in `runs`/`name` (by default the notebook and a hash of the plan), one run
    at a time on each device. Raises as `sweep_study` does."""
    path = notebook_path(notebook)
    plan = grid_runs(path, grid, seeds, fixed or {})
    for device in devices:
        device_named(device)
    folder = grid_folder(runs, path, plan, name)
    log(f"{len(plan)} runs in {folder}; the same command goes on with what is left")
    return LocalExecutor(devices, log).run(plan, folder)


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
