"""How far a run has come, in one small file that is replaced as a whole; and whether a process still writes the run.

The file is a convenience: where it is missing or damaged a status is made from the run's records (`store.Run.status`).
Whether a run is in progress its lock decides (`claims.py`), not a clock.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from omniopd.errors import RunError
from omniopd.io.fields import read_fields
from omniopd.io.redaction import redact
from omniopd.io.texts import encoded
from omniopd.runs.files.atomic import overwrite_text, read_file, write_text
from omniopd.runs.files.claims import is_claimed
from omniopd.runs.files.folders import MIRROR
from omniopd.runs.manifest import now

STATES = ("queued", "running", "finished", "failed", "interrupted", "stopped")
GOING_ON = ("queued", "running")  # a process owns the run
LOST = "lost"  # never written: what `state_of` calls a run whose status says "running" and that no process owns
_BLOCK = 4096  # bytes that a small file takes on a disk anyway
_SLACK_S = 2.0  # two readings of one process's start may differ by a clock's correction
_SINCE_1970 = 1e9  # a start above this many seconds was written by the clock; below, since the machine was started


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands. `step` of `steps` optimizer steps are done; times are UTC; `message` is for people.

    `pid_started` is when the process began, in seconds since the machine was started where the system says so (since
    1970 elsewhere, and in older runs).
    """

    state: str = "running"
    pid: int = 0
    pid_started: float = 0.0
    step: int = 0
    steps: int = 0
    started: str = ""
    updated: str = ""
    message: str = ""


def first_status(steps: int) -> Status:
    """The status of a run that this process starts."""
    return _of_this_process(Status(steps=steps, started=now(), updated=now()))


def changed(status: Status, **changes: Any) -> Status:
    """The status with some fields changed; a state of GOING_ON makes this process the run's own. Raises RunError."""
    unknown = set(changes) - {"state", "step", "steps", "message"}
    if unknown:
        raise RunError(f"{', '.join(sorted(unknown))} is not part of a status: it has state, step, steps and message")
    if "message" in changes:
        changes["message"] = redact(str(changes["message"]))
    status = replace(status, **changes, updated=now())
    if status.state not in STATES:
        raise RunError(f"state is {status.state!r}: it must be one of {', '.join(STATES)}")
    return _of_this_process(status) if changes.get("state") in GOING_ON else status


def write_status(path: Path, status: Status) -> None:
    """Write a status whole; on a full disk over the old one, since that a run has ended must be told there too."""
    text = json.dumps(asdict(status), ensure_ascii=False, indent=1) + "\n"
    try:
        write_text(path, text)
    except RunError:
        if not path.is_file() or len(encoded(text)) > _BLOCK:
            raise
        overwrite_text(path, text)


def read_status(path: Path) -> Status:
    """The status in a file. Raises RunError where it holds none; unknown fields of a newer writer are ignored."""
    try:
        status = read_fields(Status, json.loads(read_file(path).decode()))
        if status.state not in STATES or min(status.pid, status.step, status.steps) < 0:
            raise ValueError(f"state {status.state!r}, process {status.pid}, step {status.step} of {status.steps}")
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} holds no status ({error}): is {path.parent} a run?") from error
    return status


def state_of(status: Status, folder: Path) -> str:
    """The state, or "lost" where the status says "running" and no process owns the run (killed, or a power cut). Of a
    copy it is the last that was heard: its process is another machine's."""
    if status.state not in GOING_ON or is_copy(folder):
        return status.state
    claimed = is_claimed(folder)
    going_on = is_alive(status.pid, status.pid_started) if claimed is None else claimed
    return status.state if going_on else LOST


def is_copy(folder: Path) -> bool:
    """Whether a folder is a copy of one that stands elsewhere, or in it (`mirror.py`)."""
    return any((place / MIRROR).is_file() for place in (folder, *folder.parents))


def is_alive(pid: int, started: float) -> bool:
    """Whether the process that began at `started` (as `start_of` says) still runs; a zombie does not."""
    import psutil

    if pid <= 0:
        return False
    try:
        process = psutil.Process(pid)
        began = process.create_time() if started > _SINCE_1970 else start_of(pid)
        same = abs(began - started) < (_SLACK_S if started > _SINCE_1970 else 0.05)
        return same and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:
        return True


def start_of(pid: int) -> float:
    """When a process began: seconds since the machine was started, which no clock moves, where the system tells; else
    seconds since 1970. 0 where there is no such process."""
    import psutil

    try:
        # The name stands in brackets and may hold spaces and brackets; the start is the 20th field behind it.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        pass
    try:
        return float(psutil.Process(pid).create_time())
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return 0.0


def _of_this_process(status: Status) -> Status:
    return replace(status, pid=os.getpid(), pid_started=start_of(os.getpid()))
