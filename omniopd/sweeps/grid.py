"""A notebook's grid: every combination of its parameters' values, each with every seed."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniopd.errors import ConfigError, RunError
from omniopd.launch.folder import is_launched, part
from omniopd.launch.parameters import checked, parameters_of
from omniopd.launch.starting import prepare, refuse_secrets
from omniopd.runs.files.atomic import make_folder, write_text
from omniopd.runs.files.folders import STATUS
from omniopd.sweeps.plan import folder_name

PLAN = "sweep.json"


@dataclass(frozen=True, slots=True)
class NotebookRun:
    """One run of a grid: its folder's name, such as `lr=0.1_seed=2`, and its parameters."""

    notebook: Path
    name: str
    parameters: Mapping[str, Any]

    @property
    def place(self) -> Path:
        return Path(self.name)

    def __str__(self) -> str:
        return self.name

    def prepare(self, path: Path) -> None:
        if not is_launched(path):
            # A sweep that died while it was preparing leaves a folder without what makes it a launched run.
            shutil.rmtree(part(path), ignore_errors=True)
            (path / STATUS).unlink(missing_ok=True)
            prepare(self.notebook, self.parameters, path.parent, path.name)


def grid_runs(
    notebook: Path, grid: Mapping[str, Sequence[str]], seeds: Sequence[str], fixed: Mapping[str, Any]
) -> list[NotebookRun]:
    """Every combination of the grid, each with every seed. Raises ConfigError with all that cannot work."""
    axes = dict(grid) | ({"seed": list(seeds)} if seeds else {})
    twice = sorted(set(axes) & set(fixed))
    if twice:
        raise ConfigError(f"{twice[0]} is both fixed and swept: give it once")
    if not axes:
        raise ConfigError("a sweep needs --grid key=a,b or --seeds 0,1")
    parameters = parameters_of(notebook)
    runs: dict[str, NotebookRun] = {}
    for values in itertools.product(*axes.values()):
        swept = dict(zip(axes, values, strict=True))
        refuse_secrets({**fixed, **swept})
        typed, problems = checked(parameters, {**fixed, **swept})
        if problems:
            raise ConfigError(f"{notebook.name}: {'; '.join(problems.values())}")
        name = folder_name("_".join(f"{key}={value}" for key, value in swept.items()), 120, spaces=False)
        if name in runs:
            raise ConfigError(f"two runs of the sweep would be called {name}: take doubled values out")
        runs[name] = NotebookRun(notebook, name, typed)
    return list(runs.values())


def grid_folder(folder: str | Path, notebook: Path, plan: Sequence[NotebookRun], name: str | None = None) -> Path:
    """The folder of the sweep: the same for the same plan, so that the same command goes on with it.

    Raises RunError where the folder holds another sweep.
    """
    text = json.dumps({"notebook": notebook.name, "runs": {r.name: dict(r.parameters) for r in plan}}, sort_keys=True)
    stamp = hashlib.sha256(text.encode()).hexdigest()[:8]
    path = make_folder(Path(folder) / (name or f"sweep_{notebook.stem}_{stamp}"))
    file = path / PLAN
    if not file.exists():
        write_text(file, text + "\n")
    elif json.loads(file.read_text(encoding="utf-8")) != json.loads(text):
        raise RunError(f"{path} holds another sweep: give this one a name of its own")
    return path
