"""What a launched notebook's folder holds beside the records of its run.

    launch/launch.json    what was launched: notebook, parameters, place, device; written once
    launch/source.ipynb   the notebook as it was then, so that a resumed run executes the same one
    launch/process.json   the process that executes it: written by that process only, replaced as a whole
    launch/wanted         "stop", "interrupt" or "kill", once a user asked for it
    launch/lock           held by that process as long as it lives
    notebook.log          what the process and its kernel printed
    NAME.ipynb            the executed copy, after every cell; status.json and the records as `runs/store.py` says

Processes are started and ended in `starting.py`, `runner.py` and `launched.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from omniopd.errors import RunError
from omniopd.io.fields import read_fields
from omniopd.runs.files.atomic import make_folder, write_text

PART = "launch"
LOG = "notebook.log"
STOP, INTERRUPT, KILL = "stop", "interrupt", "kill"


@dataclass(frozen=True, slots=True)
class Launch:
    """What was launched. `notebook` is its file's name, `cwd` where relative paths in it begin, `device` as asked for
    ("auto", "cpu", "cuda:1", "none"); times are UTC."""

    notebook: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cwd: str = "."
    device: str = "auto"
    created: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """The process that executes the notebook, and its kernel (0: not started). Times are seconds since 1970.

    `cell` of `cells` is being executed. `exit_code` is None until the process has ended in an orderly way.
    """

    pid: int = 0
    pid_started: float = 0.0
    kernel_pid: int = 0
    kernel_started: float = 0.0
    cell: int = 0
    cells: int = 0
    began: float = 0.0
    ended: float = 0.0
    exit_code: int | None = None


def part(path: Path) -> Path:
    return path / PART


def source_of(path: Path) -> Path:
    return part(path) / "source.ipynb"


def lock_of(path: Path) -> Path:
    return part(path) / "lock"


def is_launched(path: str | Path) -> bool:
    """Whether a notebook was launched into this folder."""
    return (part(Path(path)) / "launch.json").is_file()


def write_launch(path: Path, launch: Launch) -> None:
    make_folder(part(path))
    _write(part(path) / "launch.json", launch)


def read_launch(path: Path) -> Launch:
    """Raises RunError for a folder into which no notebook was launched."""
    try:
        return _read(part(path) / "launch.json", Launch)
    except (OSError, ValueError, RecursionError) as error:
        why = f"({error})" if path.is_dir() else "(there is no such folder)"
        raise RunError(f"no notebook was launched into {path} {why}: give the folder of a launched run") from error


def write_process(path: Path, process: Process) -> None:
    _write(part(path) / "process.json", process)


def read_process(path: Path) -> Process:
    """An empty one before the process has written its first word."""
    try:
        return _read(part(path) / "process.json", Process)
    except (OSError, ValueError, RecursionError):
        return Process()


def want(path: Path, what: str) -> None:
    """Record the request to end the run, for every process that reads it."""
    write_text(part(path) / "wanted", what + "\n")


def wanted(path: Path) -> str:
    """"stop", "interrupt", "kill", or "" where nobody asked for an end."""
    try:
        return (part(path) / "wanted").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def forget_wanted(path: Path) -> None:
    (part(path) / "wanted").unlink(missing_ok=True)


_Record = TypeVar("_Record", Launch, Process)


def _write(file: Path, record: Launch | Process) -> None:
    write_text(file, json.dumps(asdict(record), ensure_ascii=False, indent=1) + "\n")


def _read(file: Path, kind: type[_Record]) -> _Record:
    return read_fields(kind, json.loads(file.read_text(encoding="utf-8")))
