"""Start a notebook in a process of its own, or start a stopped one again.

The process has its own session: neither a terminal's Ctrl-C nor the restart of the notebook kernel that launched it
reaches it. Its environment is this one's, without what describes this kernel and this page.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import omniopd
from omniopd.errors import ConfigError, Refused, RunError
from omniopd.io.redaction import is_secret
from omniopd.launch.devices import device_environment, device_named, device_of_several
from omniopd.launch.folder import LOG, Launch, forget_wanted, lock_of, part, read_process, source_of, write_launch
from omniopd.launch.launched import Launched, attach
from omniopd.launch.notebooks import notebook_path
from omniopd.launch.outdated import bring_up_to_date
from omniopd.launch.parameters import PROCESSES, all_values, checked, parameters_of
from omniopd.runs.files.claims import LOCK, claimed_by, held_words, lock_file, release
from omniopd.runs.files.folders import LAUNCHED, STATUS, named_folder, new_folder, refuse_taken
from omniopd.runs.manifest import now
from omniopd.runs.status import changed, first_status, write_status
from omniopd.runs.store import Run

_ORPHAN_S = 10.0  # a kernel looks every second whether the process that started it lives


def launch(
    notebook: str | Path,
    parameters: Mapping[str, Any] | None = None,
    folder: str | Path = "runs",
    name: str | None = None,
    device: str = "auto",
    run: Run | None = None,
) -> Launched:
    """Execute a notebook (a file, or a shipped one's name) in a new run's folder; returns once its process has begun.

    `parameters` are checked against the notebook's own. The first run that the notebook creates gets this folder;
    `run`: one that exists already takes the notebook in. `device`: "auto", "cpu", "cuda:0", or "none" for no waiting.
    Raises ConfigError for what cannot work, Refused for parameters that look like secrets (an executed notebook is a
    file to show), RunError where the folder cannot be written.
    """
    with _prepared(notebook, parameters or {}, folder, name, device, run) as (launched, held):
        return _started(launched, held)


def prepare(notebook: Path, parameters: Mapping[str, Any], folder: Path, name: str) -> Launched:
    """The folder that `launch` would make, without its process: `resume` starts it. Raises as `launch` does."""
    with _prepared(notebook, parameters, folder, name, "auto", None) as (launched, _):
        return launched


@contextmanager
def _prepared(
    notebook: str | Path, parameters: Mapping[str, Any], folder: str | Path, name: str | None, device: str,
    run: Run | None,
) -> Iterator[tuple[Launched, IO[bytes]]]:  # fmt: skip
    source = notebook_path(notebook)
    if run is not None and (run.path / source.name).resolve() == source.resolve():
        raise ConfigError(f"{source} stands in the run's own folder: execute the original, not the executed copy")
    refuse_secrets(parameters)
    values, problems = checked(parameters_of(source), parameters)
    if problems:
        raise ConfigError(f"{source.name}: {'; '.join(problems.values())}")
    processes = all_values(parameters_of(source), values).get(PROCESSES)
    device = device_of_several(device, processes if isinstance(processes, int) else 1)
    device_named(device)
    if run is not None:
        path = run.path
    else:
        path = named_folder(Path(folder), name) if name is not None else new_folder(Path(folder), source.stem)
    with _lock(path) as held:
        if run is None:
            refuse_taken(path)  # by a process that was quicker
        shutil.copyfile(source, source_of(path))
        if run is None:
            write_status(path / STATUS, changed(first_status(0), state="queued", message="starting"))
        # Last, because a folder is a launched run once it has this file.
        write_launch(path, Launch(source.name, values, str(Path.cwd()), device, now()))
        if run is not None:
            release(path)  # the notebook's kernel writes it
        yield Launched(path), held


def resume(path: str | Path, device: str | None = None) -> Launched:
    """Execute a launched notebook again: its run goes on from its newest checkpoint. Returns once it has begun.

    What it had shown before is kept in launch/. Raises RunError for a run that goes on or has finished.
    """
    launched = attach(path)
    with _lock(launched.path) as held:
        _await_orphan(launched.path)
        if launched.status.state == "finished":
            raise RunError(f"{path} has finished: there is nothing to resume; launch the notebook anew")
        bring_up_to_date(launched.path)
        if device is not None:
            old = launched.launch
            processes = old.parameters.get(PROCESSES)
            device = device_of_several(device, processes if isinstance(processes, int) else 1)
            device_named(device)
            write_launch(launched.path, Launch(old.notebook, old.parameters, old.cwd, device, old.created))
        if launched.notebook.exists():
            attempt = len(list(part(launched.path).glob("attempt_*.ipynb"))) + 1
            os.replace(launched.notebook, part(launched.path) / f"attempt_{attempt}.ipynb")
        forget_wanted(launched.path)
        return _started(launched, held)


def refuse_secrets(parameters: Mapping[str, Any]) -> None:
    """Raises Refused where a parameter is named like a key or looks like one."""
    for name, value in parameters.items():
        if is_secret(name, value):
            raise Refused(
                f"parameter {name!r} looks like a secret, and an executed notebook keeps its parameters: put it into "
                "the environment instead"
            )


def child_environment(path: Path, launch: Launch) -> dict[str, str]:
    """This environment for the process of a run: this very package first, no progress bars, nothing of this kernel."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("JPY_") and name not in _KERNELS_OWN
    }
    kept |= {
        "PYTHONPATH": os.pathsep.join([*package_folders(), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONUNBUFFERED": "1",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "TQDM_DISABLE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    if "run" not in launch.parameters:  # else the notebook opens that one itself
        kept[LAUNCHED] = str(path.resolve())
    return kept | device_environment(launch.device if launch.device == "cpu" else device_named(launch.device))


_KERNELS_OWN = {"MPLBACKEND", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PAGER", "GIT_PAGER", LAUNCHED}


@contextmanager
def _lock(path: Path) -> Iterator[IO[bytes]]:
    """The lock of whoever executes what is launched into a folder: taken before anything there is looked at, and passed
    on to the process that is started. Raises RunError where another process has it."""
    held = lock_file(lock_of(path))
    if held is None:
        raise RunError(held_words(path))
    with held:
        yield held


def _await_orphan(path: Path) -> None:
    """Until the kernel of a process that was killed has noticed. Raises RunError where something else has the run."""
    deadline = time.monotonic() + _ORPHAN_S
    while claimed_by(path / LOCK) is not None:
        if time.monotonic() > deadline:
            raise RunError(held_words(path))
        time.sleep(0.1)


def _started(launched: Launched, held: IO[bytes]) -> Launched:
    """Start the process, which inherits the lock, and wait until it has written that it has begun."""
    path, launch = launched.path, launched.launch
    # -P: a file called queue.py beside the notebook is not part of Python.
    words = [sys.executable, "-P", "-m", "omniopd.launch.runner", str(path.resolve())]
    inherited = (held.fileno(),) if os.name == "posix" else ()
    with open(path / LOG, "ab") as log:
        child = subprocess.Popen(
            [*words, *map(str, inherited)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            cwd=launch.cwd, env=child_environment(path, launch), pass_fds=inherited,
        )  # fmt: skip
    # Reaped when it ends: until then a process that has ended looks like one that sleeps.
    threading.Thread(target=child.wait, daemon=True, name=f"reaper of {child.pid}").start()
    while read_process(path).pid != child.pid:
        if child.poll() is not None:
            raise RunError(f"{path} did not start: {last_line(path / LOG)}")
        time.sleep(0.02)
    return launched


def package_folders() -> list[str]:
    """Where this package and its views are imported from, so that the kernel finds the same."""
    folders = [str(Path(omniopd.__file__).parents[1])]
    views = importlib.util.find_spec("omniopd_widgets")
    if views is not None and views.origin is not None:
        folders.append(str(Path(views.origin).parents[1]))
    return list(dict.fromkeys(folders))


def last_line(log: Path) -> str:
    """The last words of a process, by its log."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "its process ended without a word"
