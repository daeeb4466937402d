"""Which process owns a run: locks on files in its folder and beside it.

    run.lock       held by the process that writes the run; holds its number
    launch/lock    held by the process that executes a launched notebook (`launch/runner.py`), queued or at work, and
                   by a notebook that has the run done in several processes (`pipeline/together.py`)
    ../NAME.lock   held by a sweep that starts the run, then by the process it started: loading takes seconds, and
                   without it two sweeps would start one run twice

A lock is taken before anything of the run is read or written, and a run is in progress while somebody holds one of the
first two: the system releases a lock when its holder ends, however it ends, so neither clocks nor process numbers are
asked. A run of an older version has no such file, and a file system without locks leaves none: there the process number
in the status has to do (`status.is_alive`).
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

from omniopd.errors import RunError
from omniopd.io.locks import holder, holder_machine, is_locked, lock
from omniopd.runs.files.atomic import make_folder

LOCK = "run.lock"
EXECUTING = "launch/lock"  # of whoever executes the notebook that was launched into the folder
_log = logging.getLogger(__name__)
_guard = threading.Lock()
_mine: dict[str, tuple[int, int]] = {}  # by folder: the process that took it (a fork is another), the open lock


def claim(folder: Path) -> None:
    """Take the run in `folder` for this process, until `release` or its end; nothing where this process has it.

    Raises RunError where another process has it, naming that one, and where the folder cannot be written.
    """
    with _guard:
        if not _is_mine(folder):
            _mine[_key(folder)] = os.getpid(), _taken(folder)


def take_up(folder: Path) -> None:
    """Take the run in `folder` to continue it. Raises RunError where any process, this one included, has it."""
    with _guard:
        if _is_mine(folder) or _executed_elsewhere(folder):
            raise RunError(held_words(folder))
        _mine[_key(folder)] = os.getpid(), _taken(folder)


def release(folder: Path) -> None:
    """Give the run back, so that another process may go on with it; nothing where this process does not have it."""
    with _guard:
        if _is_mine(folder):
            os.close(_mine.pop(_key(folder))[1])


def start_lock(folder: Path) -> Path:
    """The file that whoever starts the run in `folder` locks while there may be no such folder."""
    return folder.with_name(f"{folder.name}.lock")


def lock_file(file: Path, otherwise: str = "check the folder") -> IO[bytes] | None:
    """The lock on a file, which is made with its folder: held while it is open, here or in a child that inherits it.

    None where another process holds it. Raises RunError where it cannot be written.
    """
    make_folder(file.parent)
    try:
        return lock(file)
    except OSError as error:
        raise RunError(f"{file} cannot be locked ({error.strerror or error}): {otherwise}") from error


def is_claimed(folder: Path) -> bool | None:
    """Whether some process, this one included, holds the run; None where no lock tells."""
    files = [file for file in (folder / LOCK, folder / EXECUTING) if file.is_file()]
    with suppress(OSError):
        return any(map(is_locked, files)) if files else None
    return None


def claimed_by(file: Path) -> int | None:
    """The number of the process that holds a lock file, where one does and says so."""
    with suppress(OSError):
        return holder(file) if file.is_file() and is_locked(file) else None
    return None


def held_words(folder: Path) -> str:
    """The error for whoever comes too late."""
    files = (folder / LOCK, folder / EXECUTING, start_lock(folder))
    file = next((file for file in files if claimed_by(file) is not None), None)
    who = "another process" if file is None else f"process {claimed_by(file)}"
    machine = None if file is None else holder_machine(file)
    there = f" on {machine}" if machine else ""
    return f"{folder} is being run by {who}{there}: stop that one first (omniopd stop {folder}{there}), or wait for it"


def _taken(folder: Path) -> int:
    file = folder / LOCK
    held = lock_file(file, "copy the run to a folder that you may write")
    if held is None:
        raise RunError(held_words(folder))
    if not is_locked(file):
        _log.warning("the file system of %s has no locks: start no second process on a run there", folder)
        file.unlink(missing_ok=True)  # readers of the run must not trust it
    with held:
        return os.dup(held.fileno())  # of the same lock; the end of the process closes it


def _executed_elsewhere(folder: Path) -> bool:
    """Whether a notebook has the run that this process is not part of: by it were started, directly or not, who are."""
    by = claimed_by(folder / EXECUTING)
    if by in (None, os.getpid(), os.getppid()):
        return False
    import psutil

    return by not in (process.pid for process in psutil.Process().parents())


def _is_mine(folder: Path) -> bool:
    by, _ = _mine.get(_key(folder), (0, 0))
    return by == os.getpid()


def _key(folder: Path) -> str:
    return os.path.realpath(folder)
