"""The folder of a run: the names of its files, the folder of a new run, and whether an old one can be resumed."""

from __future__ import annotations

import difflib
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from omniopd.errors import RunError
from omniopd.runs.files.atomic import make_folder
from omniopd.runs.files.claims import EXECUTING, LOCK, claimed_by

MANIFEST, RECIPE, STATUS, STEPS, EVALS = "manifest.json", "recipe.toml", "status.json", "steps.jsonl", "evals.jsonl"
ROLLOUTS, CHECKPOINTS, STUDENT, SET_ASIDE = "rollouts", "checkpoints", "student", "set_aside"
EVALUATIONS = "evaluations"  # of the trained student, asked for afterwards (`omniopd evaluate RUN`)
UNFINISHED = "evaluating.jsonl"  # problems that an evaluation has finished, until all are
TRIALS = "trials"  # in the folder of a study: runs that chose its rates, and nobody's result
CONTROLS, BEST, BEST_NOTE = "controls", "best", "best.json"
PROCESSES = "processes"  # what several processes, other than the main one, ended with
MIRROR = ".mirror.json"  # in a copy of runs that stand elsewhere (mirror.py)
LAUNCHED = "OMNIOPD_RUN_FOLDER"  # the environment variable that says where a launched notebook's run shall stand
_given: set[Path] = set()  # launched folders that this process has made a run in


def named_folder(folder: Path, name: str) -> Path:
    """The folder of a new run of this name, made if it is not there. Raises RunError for one that holds anything."""
    if not re.fullmatch(r"[\w][\w .+=-]*", name):
        raise RunError(f"{name!r} cannot name a run: use letters, digits, spaces, and . _ - + =")
    refuse_taken(folder / name)
    return make_folder(folder / name)


def refuse_taken(path: Path) -> None:
    """Raises RunError for a folder that holds a run, or anything else but the claim on it."""
    if os.path.lexists(path / MANIFEST):
        raise RunError(f"{path} is a run already: resume it, or give the new run another name")
    if path.is_dir() and any(inside.name != LOCK and not _is_launch(inside) for inside in path.iterdir()):
        raise RunError(f"{path} holds files that are no run's: give an empty folder or another name")


def new_folder(parent: Path, name: str) -> Path:
    """A new folder inside `parent`, called by the time (UTC) and a name. Raises RunError."""
    plain = re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "run"
    name = f"{_stamp()}_{plain}"
    make_folder(parent)
    for attempt in range(1, 1000):
        try:
            return make_folder(parent / (name if attempt == 1 else f"{name}_{attempt}"), exist_ok=False)
        except FileExistsError:
            continue
    raise RunError(f"{parent / name} and 998 like it exist already: give the run a name")


def nearest_run(path: Path) -> Path | None:
    """The run beside a folder that is none whose name is nearest to it."""
    beside = [found.parent.name for found in path.parent.glob(f"*/{MANIFEST}")]
    near = difflib.get_close_matches(path.name, beside, 1, 0.6)
    return path.parent / near[0] if near else None


def launched_folder() -> Path | None:
    """The folder made for the first run of the notebook that this process executes; None for every later run, and for a
    process that such a notebook has started."""
    named = os.environ.get(LAUNCHED)
    if not named:
        return None
    place = Path(named)
    by = claimed_by(place / LOCK), claimed_by(place / EXECUTING)
    if place in _given or by[0] not in (None, os.getpid()) or by[1] not in (None, os.getpid(), os.getppid()):
        return None
    _given.add(place)
    return place


def require_usable(path: Path) -> None:
    """Make the folders of a run that is resumed, and raise RunError for what could not be written or read later: better
    now than after hours of training."""
    for part in (ROLLOUTS, CHECKPOINTS):
        _require_writable(make_folder(path / part))
    for part in (CONTROLS, BEST, SET_ASIDE):
        if os.path.lexists(path / part):
            _require_writable(make_folder(path / part))
    _require_writable(path)
    for name in (STATUS, RECIPE, STEPS, EVALS, UNFINISHED, BEST_NOTE):
        file = path / name
        if os.path.lexists(file) and not file.is_file():
            raise RunError(f"{file} is not a file: move it away, and resume the run again")
        if file.is_file() and not os.access(file, os.R_OK | os.W_OK):
            raise RunError(f"{file} may not be read or written: give yourself the right to, and resume the run again")


def aside(path: Path) -> Path:
    """A name below set_aside/ that is not taken; the folder is made when something goes there."""
    stamp, attempt = _stamp(), 1
    while (path / SET_ASIDE / (name := stamp if attempt == 1 else f"{stamp}_{attempt}")).exists():
        attempt += 1
    return path / SET_ASIDE / name


def _require_writable(folder: Path) -> None:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise RunError(f"{folder} may not be written: give yourself the right to, and resume the run again")


def _is_launch(inside: Path) -> bool:
    """Whether this is the launch/ of a folder into which nothing was launched yet."""
    return inside.name == Path(EXECUTING).parent.name and inside.is_dir() and not (inside / "launch.json").exists()


def _stamp() -> str:
    # Colons are not allowed in file names everywhere.
    return datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
