"""A queue of runs for one device: first come, first served, one at a time.

A waiting process holds a lock on its own ticket, a numbered file. The system releases the lock when the process ends,
however it ends, so a killed waiter leaves the line by itself. The line is this user's on this machine; where the file
system has no locks nobody waits.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from omniopd.errors import RunError
from omniopd.io.locks import is_locked, lock
from omniopd.launch.devices import NONE

FOLDER = "OMNIOPD_QUEUE"  # the environment variable that moves the line elsewhere
PAUSE_S = 0.2


@contextmanager
def turn(device: str, waiting: Callable[[int], None], folder: Path | None = None) -> Iterator[None]:
    """Wait until `device` is free, and keep it while the body runs; "none" is not a device and has no line.

    `waiting` is called with this run's place in the line (2: one is before it) at every change, and at every look
    thereafter with the same number; what it raises leaves the line.
    """
    if device == NONE:
        yield
        return
    line = (folder or queue_folder()) / _file_name(device)
    line.mkdir(parents=True, exist_ok=True)
    ticket, file = _join(line)
    try:
        while (place := _place(line, ticket)) > 1:
            waiting(place)
            time.sleep(PAUSE_S)
        yield
    finally:
        file.close()
        ticket.unlink(missing_ok=True)


def length(device: str, folder: Path | None = None) -> int:
    """How many runs compute on a device or wait for it now."""
    line = (folder or queue_folder()) / _file_name(device)
    if device == NONE or not line.is_dir():
        return 0
    return sum(map(is_locked, _tickets(line)))


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def queue_folder() -> Path:
    """The folder of this user's queues. Raises RunError where it belongs to another user."""
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER])
    owner = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"omniopd-{owner}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != owner:
        raise RunError(f"{folder} belongs to somebody else: set {FOLDER} to a folder of your own for the queue")
    return folder / "queue"


def _join(line: Path) -> tuple[Path, IO[bytes]]:
    with _counter(line):
        number = max((int(ticket.name) for ticket in _tickets(line)), default=0) + 1
        ticket = line / f"{number:09d}"
        file = lock(ticket)
    assert file is not None  # nobody else makes tickets while the counter is held
    return ticket, file


def _place(line: Path, own: Path) -> int:
    """1 for the first. Tickets of ended processes before it are thrown away."""
    with _counter(line):
        before = [ticket for ticket in _tickets(line) if ticket.name < own.name]
        dead = [ticket for ticket in before if not is_locked(ticket)]
        for ticket in dead:
            ticket.unlink(missing_ok=True)
    return len(before) - len(dead) + 1


def _counter(line: Path) -> IO[bytes]:
    """The lock on the whole line, waited for: others have it for a moment."""
    while (held := lock(line / "counter")) is None:
        pass  # `lock` itself waits a little
    return held


def _tickets(line: Path) -> list[Path]:
    return sorted(path for path in line.iterdir() if re.fullmatch(r"\d{9}", path.name))


def _file_name(device: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "-", device)
    return plain if plain == device else f"{plain}-{hashlib.sha256(device.encode()).hexdigest()[:6]}"
