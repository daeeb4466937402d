"""Whose a run is: a lock in its folder, held by the process that carries it out for as long as it says that it does.

    run.lock       held by the process that writes the run; holds its number
    launch/lock    held by the process that executes a launched notebook (`launch/runner.py`), queued or at work

The claim is taken before anything of the run is looked at or written, and whether a run goes on is whether somebody
holds one of the two: the system takes a lock away when its holder ends, however it ends, so neither clocks nor process
numbers are asked. A run of an older version has no such file, and where a file system knows no locks none is left:
there the status' process number is all there is (`status.is_alive`).
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

from omniopd.errors import RunError
from omniopd.io.locks import holder, is_locked, lock
from omniopd.runs.atomic import make_folder

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
    """The same for who would go on with a run: this process, too, may carry it out already. Raises RunError."""
    with _guard:
        if _is_mine(folder) or _executed_elsewhere(folder):
            raise RunError(held_words(folder))
        _mine[_key(folder)] = os.getpid(), _taken(folder)


def release(folder: Path) -> None:
    """Give the run back, so that another process may go on with it; nothing where this process does not have it."""
    with _guard:
        if _is_mine(folder):
            os.close(_mine.pop(_key(folder))[1])


def is_claimed(folder: Path) -> bool | None:
    """Whether a process has the run in hand, this one included; None where no lock tells."""
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
    """The sentence for who comes too late."""
    by = claimed_by(folder / LOCK) or claimed_by(folder / EXECUTING)
    who = f"process {by}" if by else "another process"
    return f"{folder} is being run by {who}: stop that one first (omniopd stop {folder}), or wait for it"


def _taken(folder: Path) -> int:
    make_folder(folder)
    file = folder / LOCK
    try:
        held = lock(file)
    except OSError as error:
        raise RunError(
            f"{file} cannot be locked ({error.strerror or error}), so that nothing would keep a second process from "
            "this run: copy the run to a folder that you may write"
        ) from error
    if held is None:
        raise RunError(held_words(folder))
    if not is_locked(file):
        _log.warning("the file system of %s has no locks: start no second process on a run there", folder)
        file.unlink(missing_ok=True)  # who looks at the run is not to believe it
    with held:
        return os.dup(held.fileno())  # of the same lock; nobody misses that it is closed when the process ends


def _executed_elsewhere(folder: Path) -> bool:
    """Whether a launched notebook has the run in hand, which this process is no part of."""
    return claimed_by(folder / EXECUTING) not in (None, os.getpid(), os.getppid())


def _is_mine(folder: Path) -> bool:
    by, _ = _mine.get(_key(folder), (0, 0))
    return by == os.getpid()


def _key(folder: Path) -> str:
    return os.path.realpath(folder)
