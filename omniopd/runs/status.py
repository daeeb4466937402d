"""How far a run has come, in one small file that is replaced as a whole; and whether its process still lives.

Knows processes of this machine only: a folder shared between machines shows a run of another one as lost.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from omniopd.errors import RunError
from omniopd.redaction import redact
from omniopd.runs.atomic import overwrite_text, write_text
from omniopd.runs.manifest import now

STATES = ("queued", "running", "finished", "failed", "interrupted", "stopped")
GOING_ON = ("queued", "running")  # a process has the run in hand
LOST = "lost"  # never written: what `state_of` calls a run that says that it goes on and whose process is gone
_BLOCK = 4096  # bytes that a small file takes on a disk anyway
_SLACK_S = 2.0  # two readings of one process's start may differ by a clock's correction


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands. `step` of `steps` optimizer steps are done; times are UTC; `message` is for people."""

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
        raise RunError(f"{', '.join(sorted(unknown))} is no part of a status: it has state, step, steps and message")
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
        if not path.exists() or len(text.encode()) > _BLOCK:
            raise
        overwrite_text(path, text)


def read_status(path: Path) -> Status:
    """The status in a file. Raises RunError where there is none; unknown fields of a newer writer are ignored."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Status(**{f.name: data[f.name] for f in fields(Status) if f.name in data})
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path} holds no status ({error}): is {path.parent} a run?") from error


def state_of(status: Status) -> str:
    """The state, or "lost" where a run says that it goes on and its process is gone (killed, or a power cut)."""
    return LOST if status.state in GOING_ON and not is_alive(status.pid, status.pid_started) else status.state


def is_alive(pid: int, started: float) -> bool:
    """Whether the process that began at `started` (seconds since 1970) still runs; a zombie does not."""
    import psutil

    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SLACK_S
        return same and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except (psutil.NoSuchProcess, ValueError):
        return False
    except psutil.AccessDenied:
        return True


def _of_this_process(status: Status) -> Status:
    import psutil

    return replace(status, pid=os.getpid(), pid_started=psutil.Process().create_time())
