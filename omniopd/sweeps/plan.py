"""What a study or a notebook's grid becomes, and who runs it: the two sides of an executor.

A planned run is a folder and the command that starts or resumes it. How far it is, its folder says; nothing else is
remembered, so the same plan run again does what is left.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from omniopd.launch.folder import is_launched
from omniopd.launch.launched import Launched
from omniopd.runs.files.claims import is_claimed
from omniopd.runs.store import MANIFEST, open_run

NOT_STARTED = "not started"


@dataclass(frozen=True, slots=True)
class Command:
    """The words after `omniopd`, and what its environment must say."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class PlannedRun(Protocol):
    """One run of a plan; as text, what it is called in messages."""

    @property
    def place(self) -> Path:
        """Its folder inside the sweep's."""
        ...

    def command(self, path: Path, device: str) -> Command:
        """What starts the run in `path`, or resumes it; writes what the command needs."""
        ...


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The state of a planned run after a sweep. `message` says why one failed."""

    planned: PlannedRun
    path: Path
    state: str
    message: str = ""


class Executor(Protocol):
    """Runs a plan: on this machine (`executors.LocalExecutor`), or wherever folder and command can be shared."""

    def run(self, plan: Sequence[PlannedRun], folder: Path) -> list[RunOutcome]:
        """Do what the plan still lacks in `folder`. A run that fails does not end the others."""
        ...


def state_in(path: Path) -> str:
    """The state of the run in a folder, or NOT_STARTED."""
    if is_launched(path):
        launched = Launched(path)
        return "running" if launched.is_running() else launched.state  # cells may follow a training that finished
    if (path / MANIFEST).exists():
        return open_run(path).state
    # A folder is a run once it has a manifest; the process that makes one has claimed it already.
    return "running" if is_claimed(path) else NOT_STARTED


def folder_name(text: str, longest: int = 100, spaces: bool = True) -> str:
    """`text` in letters that every file system takes; a long one ends in a hash of the whole."""
    plain = re.sub(r"[^\w.+= -]" if spaces else r"[^\w.+=-]", "-", text)
    return plain if len(plain) <= longest else f"{plain[: longest - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
