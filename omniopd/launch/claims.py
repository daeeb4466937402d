"""Whose a run is while no record tells: a lock on a file beside its folder, held by the process that carries it out.

A run's process loads for seconds before its folder says that it is going on; without the lock two sweeps would start it
twice. The system takes the lock away when the last process that holds it ends, however it ends. Where the system has no
such locks (Windows) everything may be claimed.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from omniopd.runs.atomic import make_folder

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]


def claim(path: Path) -> IO[Any] | None:
    """The claim on the run in `path`, held while it is open, here or in a child that inherits it; None where another
    process holds it."""
    make_folder(path.parent)
    file = open(path.with_name(f"{path.name}.lock"), "ab")  # noqa: SIM115 - the lock lives as long as the open file
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
    return file


def is_claimed(path: Path) -> bool:
    """Whether some process holds the run in `path`."""
    if not path.with_name(f"{path.name}.lock").exists():
        return False
    own = claim(path)
    if own is not None:
        own.close()
    return own is None
