"""A job: the one command that carries out a planned run, on whatever machine a queue starts it.

    omniopd job FOLDER     begins the run by FOLDER.toml, resumes it, or has nothing to do where it has finished

    FOLDER.toml   the recipe that begins it (of a notebook's run: FOLDER/launch/)
    FOLDER.log    what its jobs printed, where an executor started them
    FOLDER.lock   held by the job that has the run, so that of any number of them one carries it out

Knows how a run is begun and resumed; what it computes and who decides that it shall run, others know.
"""

from __future__ import annotations

import os
import shlex
import signal
import site
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from omniopd.errors import RunError
from omniopd.launch.devices import device_environment
from omniopd.launch.folder import is_launched
from omniopd.launch.launched import Launched, kill_tree
from omniopd.launch.starting import last_line, package_folders
from omniopd.runs.files.claims import held_words, lock_file, start_lock
from omniopd.runs.files.folders import LAUNCHED, MANIFEST, RECIPE
from omniopd.runs.status import GOING_ON, is_alive, start_of
from omniopd.runs.store import discard_unborn
from omniopd.sweeps.plan import state_in

PAUSE_S = 0.2
INTERRUPTED = 130  # the exit code of a job that was asked to end
_REFUSED = 2  # that of one that could not begin
_PATIENCE_S = 600.0  # for the step in progress, after which an attended job is killed


@contextmanager
def having(path: Path, wait: bool = False) -> Iterator[str]:
    """Have the run in `path` for a job: inside no other job has it. Yields its state.

    Raises RunError where another process has it; with `wait` that one is waited for. In a finished run nothing is had.
    """
    lock = start_lock(path)
    while (held := lock_file(lock)) is None or state_in(path) in GOING_ON:
        with held or nullcontext():
            if not wait:
                raise RunError(held_words(path))
        time.sleep(PAUSE_S)
    with held:
        yield state_in(path)


def command_in(path: Path, device: str | None = None) -> tuple[list[str], dict[str, str]]:
    """The words after `omniopd` that begin or resume the run in a folder, and what the environment must say. Whoever
    asks has the run. Raises RunError for a folder that no sweep has prepared."""
    if is_launched(path):
        return ["run", "--resume", str(path), *(["--device", device] if device else [])], {}
    environment = device_environment(device) if device else {}
    recipe = path / RECIPE if (path / MANIFEST).exists() else recipe_of(path)
    if not recipe.is_file():
        raise RunError(f"{path} is no run, and no sweep has left {recipe} to begin it by: give a planned run's folder")
    from omniopd.config import load_recipe

    if threads := load_recipe(recipe).training.threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    if (path / MANIFEST).exists():
        return ["train", "--resume", str(path), "--quiet"], environment
    discard_unborn(path)
    return ["train", str(recipe), "--runs", str(path.parent), "--name", path.name, "--quiet"], environment


def recipe_of(path: Path) -> Path:
    """The recipe by which the run in a folder is begun."""
    return path.with_name(f"{path.name}.toml")


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.log")


def words(path: Path, device: str | None = None, wait: bool = False, tied: bool = False) -> list[str]:
    """The command of a job, for this machine's Python; see `omniopd job --help`."""
    options = [*(["--device", device] if device else []), *(["--wait"] if wait else []), *(["--tied"] if tied else [])]
    # -P: a file called queue.py where it is started is not part of Python.
    return [sys.executable, "-P", "-m", "omniopd.cli.main", "job", str(path.resolve()), *options]


def shell_line(path: Path, device: str | None = None) -> str:
    """The command as one line for any shell: where relative paths in a recipe begin, and this very package."""
    return f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join(['env', *_package(), *words(path, device)])}"


def start(path: Path, device: str | None = None, tied: bool = False) -> subprocess.Popen[bytes]:
    """A job in a process of its own, which waits where another has the run and prints into the run's log."""
    environment = {name: value for name, value in os.environ.items() if name != LAUNCHED}
    environment |= dict(word.split("=", 1) for word in _package())
    with open(log_of(path), "ab") as log:
        # A session of its own: a terminal's Ctrl-C reaches the sweep alone, which asks its jobs once.
        return subprocess.Popen(
            words(path, device, wait=True, tied=tied), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment, start_new_session=True,
        )  # fmt: skip


def attend(path: Path, child: subprocess.Popen[bytes]) -> int:
    """Wait for the job of a folder, as the worker of a cluster does; returns its exit code. What ends this function (a
    task that is cancelled, a worker that is asked to go) lets the job's step end first."""
    try:
        while child.poll() is None:
            time.sleep(PAUSE_S)
    except BaseException:
        end(path, child)
        raise
    return child.returncode


def end(path: Path, child: subprocess.Popen[bytes], is_asked: bool = False) -> None:
    """Have the job of a folder end after its step, with a checkpoint; one that does not hear it is killed. `is_asked`:
    it knows already, and a second word would mean at once. Also for a signal's handler, which may interrupt `attend`
    where it asks for the exit code: here nobody asks for it."""
    began = start_of(child.pid)
    if not is_asked and is_alive(child.pid, began):
        os.kill(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE_S
    while is_alive(child.pid, began):
        time.sleep(PAUSE_S)
        if time.monotonic() > deadline:
            kill_tree(child.pid, began)
    end_notebook(path)


def end_notebook(path: Path) -> None:
    """A notebook outlives the job that watches it where that one was ended before it could listen."""
    if is_launched(path) and Launched(path).is_running():
        Launched(path).stop()


def reason(path: Path, code: int) -> str:
    """Why a job did not finish its run: the run's own words, or the last ones of its log."""
    if code < 0:
        return f"its process was killed ({signal.Signals(-code).name})"
    if is_launched(path) and code != _REFUSED and (message := Launched(path).status.message):
        return message
    return last_line(log_of(path)).removeprefix("omniopd: ") if log_of(path).is_file() else "it has left no word"


def _package() -> list[str]:
    """What the environment says so that a job imports this very package; nothing where it is installed."""
    given = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    ours = [folder for folder in package_folders() if folder not in [*site.getsitepackages(), *given]]
    return [f"PYTHONPATH={os.pathsep.join([*ours, *given])}"] if ours or given else []
