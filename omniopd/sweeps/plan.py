"""What a study or a notebook's grid becomes, and who carries it out: the two sides of an executor.

A planned run is a folder with what begins it beside or in it. How far it is, its folder says; nothing else is
remembered, so the same plan carried out again does what is left. What does it is one command, `omniopd job FOLDER`,
wherever it is started: an executor knows nothing else of a run.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from omniopd.launch.folder import is_launched
from omniopd.launch.launched import Launched
from omniopd.runs.files.claims import is_claimed
from omniopd.runs.store import MANIFEST, open_run

NOT_STARTED = "not started"
SWEEP_LOCK = "sweep.lock"  # in a study's folder: held by the sweep that carries its runs out


class PlannedRun(Protocol):
    """One run of a plan; as text, what it is called in messages."""

    @property
    def place(self) -> Path:
        """Its folder inside the sweep's."""
        ...

    def prepare(self, path: Path) -> None:
        """Write what a job needs to begin the run in `path`; a run that has begun is left as it is."""
        ...


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The state of a planned run after a sweep. `message` says why one failed."""

    planned: PlannedRun
    path: Path
    state: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has ended: the run's folder and the command's exit code (negative: the signal that killed it). `words`
    are the executor's own reason, where the run could not say one."""

    path: Path
    code: int
    words: str = ""


class Executor(Protocol):
    """Where jobs run. One of `executors/` each, which alone knows its library. Used by one thread, `engine.py`'s.

    It starts every job once, and again where its machine is lost. Two that carry out one run are no harm: a job takes
    its run for itself, or waits for it.
    """

    pause_s: float  # between two looks

    @property
    def outlives(self) -> str:
        """What whoever stops a sweep is told, where its jobs go on without it; "" where they end with it."""
        ...

    @property
    def at_hand(self) -> Collection[Path]:
        """The runs whose jobs have been submitted and have not ended."""
        ...

    def check(self, folder: Path) -> None:
        """Raises ConfigError or RunError, before anything is started, for what cannot work in a study's folder."""
        ...

    def submit(self, paths: Sequence[Path]) -> str:
        """Have a job carry out the run in each of these folders, in this order as room permits; returns a sentence for
        the log, or "" """
        ...

    def ended(self) -> Iterable[Ended]:
        """The jobs that have ended since it was last asked."""
        ...

    def stop(self, attempt: int) -> None:
        """Start no more jobs, and ask the others to end: after their steps with a checkpoint (0), at once (1), or
        without asking (2)."""
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


def near(word: str, known: Iterable[str]) -> str:
    """The rest of a sentence about a word that is none of `known`."""
    close = difflib.get_close_matches(word, list(known), 1, 0.4)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
