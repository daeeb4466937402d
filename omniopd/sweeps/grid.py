"""A notebook over a grid of parameters and over seeds: one run each, one after the other on a device.

A sweep is a folder with its plan (`sweep.json`) and its runs, called by what tells them apart. It keeps no state of its
own: executed again, it skips what has finished, waits for what is going on, resumes what was stopped, starts the rest.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniopd.errors import ConfigError, RunError
from omniopd.launch.claims import claim
from omniopd.launch.devices import device_named
from omniopd.launch.folder import is_launched, part
from omniopd.launch.launched import Launched, attach
from omniopd.launch.parameters import checked, parameters_of
from omniopd.launch.starting import launch, refuse_secrets, resume
from omniopd.runs.atomic import make_folder, write_text
from omniopd.runs.folders import STATUS

PLAN = "sweep.json"
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a sweep: its folder's name and its parameters."""

    name: str
    parameters: Mapping[str, Any]


def members(
    notebook: Path, grid: Mapping[str, Sequence[str]], seeds: Sequence[str], fixed: Mapping[str, Any]
) -> list[Member]:
    """Every combination of the grid, each with every seed. Raises ConfigError with all that cannot work."""
    axes = dict(grid) | ({"seed": list(seeds)} if seeds else {})
    twice = sorted(set(axes) & set(fixed))
    if twice:
        raise ConfigError(f"{twice[0]} is both fixed and swept: give it once")
    if not axes:
        raise ConfigError("a sweep needs --grid key=a,b or --seeds 0,1")
    parameters = parameters_of(notebook)
    found = []
    for values in itertools.product(*axes.values()):
        swept = dict(zip(axes, values, strict=True))
        refuse_secrets({**fixed, **swept})
        typed, problems = checked(parameters, {**fixed, **swept})
        if problems:
            raise ConfigError(f"{notebook.name}: {'; '.join(problems.values())}")
        found.append(Member(_name(swept), typed))
    names = [member.name for member in found]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise ConfigError(f"two runs of the sweep would be called {doubled}: take doubled values out")
    return found


def sweep_folder(folder: str | Path, notebook: Path, plan: Sequence[Member], name: str | None = None) -> Path:
    """Where the sweep stands: the same place for the same plan, so that the same command goes on with it.

    Raises RunError where the folder holds another sweep.
    """
    text = json.dumps({"notebook": notebook.name, "runs": {m.name: dict(m.parameters) for m in plan}}, sort_keys=True)
    stamp = hashlib.sha256(text.encode()).hexdigest()[:8]
    path = make_folder(Path(folder) / (name or f"sweep_{notebook.stem}_{stamp}"))
    file = path / PLAN
    if not file.exists():
        write_text(file, text + "\n")
    elif json.loads(file.read_text(encoding="utf-8")) != json.loads(text):
        raise RunError(f"{path} holds another sweep: give this one a name of its own")
    return path


def sweep(
    notebook: Path, path: Path, plan: Sequence[Member], devices: Sequence[str], say: Callable[[str], None]
) -> dict[str, str]:
    """Carry out what a sweep still lacks, as many runs at once as there are devices; returns every run's state.

    On KeyboardInterrupt the runs in progress are asked to stop after their step, and it is raised again.
    """
    for device in devices:
        device_named(device)
    states: dict[str, str] = {}
    waiting = list(plan)
    going_on: dict[str, tuple[Member, Launched]] = {}
    try:
        while waiting or going_on:
            for device in [device for device in devices if device not in going_on]:
                while waiting and device not in going_on:
                    member = waiting.pop(0)
                    with claim(path / member.name) or nullcontext() as held:
                        if held is None:  # another sweep of this plan starts it now
                            waiting.insert(0, member)
                            break
                        launched = _take_up(notebook, path, member, device)
                    if launched is None:
                        states[member.name] = "finished"
                    else:
                        say(f"{member.name}: started ({len(states) + len(going_on) + 1} of {len(plan)})")
                        going_on[device] = member, launched
            time.sleep(PAUSE_S if going_on or waiting else 0)
            for device, (member, launched) in list(going_on.items()):
                if not launched.is_running():
                    states[member.name] = launched.state
                    say(f"{member.name}: {launched.state} {launched.status.message}".rstrip())
                    del going_on[device]
    except KeyboardInterrupt:
        for _, launched in going_on.values():
            if launched.is_running():
                launched.stop()
        raise
    return states


def _take_up(notebook: Path, path: Path, member: Member, device: str) -> Launched | None:
    """The member's run, going on; None where it has finished."""
    place = path / member.name
    if not is_launched(place):
        # A sweep that died while it was launching leaves a folder without what makes it a launched run.
        shutil.rmtree(part(place), ignore_errors=True)
        (place / STATUS).unlink(missing_ok=True)
        return launch(notebook, member.parameters, path, member.name, device)
    launched = attach(place)
    if launched.is_running():
        return launched
    return None if launched.state == "finished" else resume(place, device)


def _name(swept: Mapping[str, Any]) -> str:
    """Such as `lr=0.1 seed=2`, in letters that every file system takes."""
    plain = "_".join(f"{key}={value}" for key, value in swept.items())
    kept = "".join(letter if letter.isalnum() or letter in "._-+=" else "-" for letter in plain)
    return kept if len(kept) <= 120 else f"{kept[:111]}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"
