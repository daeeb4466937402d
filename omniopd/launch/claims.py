"""Whose a run is while it has no folder yet: a lock on a file beside it, held by who starts it and by its process.

A run's process loads for seconds before its folder says that it goes on, and holds another lock (`runs/claims.py`);
without this one two sweeps would start it twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from omniopd.errors import RunError
from omniopd.io.locks import is_locked, lock
from omniopd.runs.atomic import make_folder


def claim(path: Path) -> IO[bytes] | None:
    """The claim on the run in `path`, held while it is open, here or in a child that inherits it; None where another
    process holds it. Raises RunError where it cannot be written."""
    make_folder(path.parent)
    try:
        return lock(_beside(path))
    except OSError as error:
        raise RunError(f"{_beside(path)} cannot be locked ({error.strerror or error}): check the folder") from error


def is_claimed(path: Path) -> bool:
    """Whether some process holds the run in `path`."""
    return is_locked(_beside(path))


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
