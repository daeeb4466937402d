"""A run that several processes execute: the main one writes it, the others read it.

What one of the others fails of it leaves as a note (`processes/1.txt` in the run's folder; an empty one where it only
follows another), and the main process says it in the run's status and in its own error. Who left no note was killed.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from omniopd.errors import OmniOPDError, RunError
from omniopd.io.processes import count, gathered, is_lost_contact, is_main, number, on_main
from omniopd.io.texts import whole
from omniopd.records import EvalRecord, RolloutRecord, StepRecord
from omniopd.runs.files.atomic import write_text
from omniopd.runs.files.claims import release
from omniopd.runs.files.folders import MANIFEST, PROCESSES
from omniopd.runs.status import Status, is_alive, start_of
from omniopd.runs.store import Run, open_run

_NOTE_S, _LOOK_S = 5.0, 0.1  # how long a note is waited for


class ReadOnlyRun(Run):
    """The run as another process than the main one has it: what it is told to write, the main one writes."""

    def append(self, record: StepRecord | EvalRecord) -> None:
        pass

    def write_rollouts(self, step: int, records: Iterable[RolloutRecord]) -> None:
        pass

    def set_status(self, **changes: object) -> Status:
        return self.status

    def set_aside_after(self, step: int) -> Path | None:
        return None

    def discard(self, also: Sequence[str] = ()) -> bool:
        return False


def shared_run(make: Callable[[], Run]) -> Run:
    """The run that the main process makes or reopens, in every process.

    Raises what `make` raises, in every process; RunError where a process, as on another machine, does not see its
    folder: a new one is removed then.
    """
    made: list[Run] = []

    def place() -> str:
        made.append(make())
        shutil.rmtree(made[0].path / PROCESSES, ignore_errors=True)
        return str(made[0].path.resolve())

    if count() == 1:
        return make()
    path = Path(on_main(place))
    own = [] if (path / MANIFEST).is_file() else [f"process {number()} on {socket.gethostname()}"]
    if blind := gathered(own):
        for run in made:
            if run.is_new:
                run.discard()
            release(run.path)
        raise RunError(f"{path} is not seen by {', '.join(blind)}: give a folder that all machines share (--runs)")
    return made[0] if made else ReadOnlyRun(path, open_run(path).manifest)


@dataclass(frozen=True, slots=True)
class Others:
    """The other processes of a run, as one of them sees them: `places` holds number, machine, process and its start."""

    folder: Path
    places: Sequence[tuple[int, str, int, float]] = ()

    @classmethod
    def of(cls, run: Run) -> Others:
        own = number(), socket.gethostname(), os.getpid(), start_of(os.getpid())
        return cls(run.path / PROCESSES, [place for place in gathered([own]) if place[0] != number()])

    def fallen(self, wait_s: float = 0.0) -> str | None:
        """The sentence on the one that failed or was killed, waited for so long; None where there is none."""
        until, here = time.monotonic() + wait_s, socket.gethostname()
        while True:
            gone = [n for n, host, pid, began in self.places if host == here and not is_alive(pid, began)]
            notes = {n: words for n, *_ in self.places if (words := self._note(n)) is not None}
            for n, words in notes.items():
                if words:
                    return f"process {n} of {count()} failed: {words}"
            for n in gone:
                if n not in notes:
                    return (
                        f"process {n} of {count()} ended without a word, as one does that is killed or finds no memory "
                        "left: resume the run"
                    )
            if time.monotonic() >= until:
                return None
            time.sleep(_LOOK_S)

    def follow(self, error: BaseException) -> BaseException:
        """The error that says why this process ends, and so the run: another's where that one ended first.

        A process other than the main one leaves a note of it.
        """
        is_own = not (isinstance(error, KeyboardInterrupt) or is_lost_contact(error))
        if not is_main():
            if not getattr(error, "is_told_by_main", False):
                with suppress(RunError, OSError):  # the main one may have removed a run that could not begin
                    self.folder.mkdir(exist_ok=True)
                    write_text(self.folder / f"{number()}.txt", said(error) if is_own else "")
            return SystemExit(1) if is_lost_contact(error) else error
        if is_own or not self.places:
            return error
        found = self.fallen(_NOTE_S if is_lost_contact(error) else 0.0)
        if found is None and is_lost_contact(error):
            found = f"the main process lost contact with another one: look at what that one said ({error})"
        return error if found is None else RunError(found)

    def _note(self, n: int) -> str | None:
        try:
            return (self.folder / f"{n}.txt").read_text(encoding="utf-8")
        except OSError:
            return None


def said(error: BaseException) -> str:
    """An error as a status tells it."""
    return whole(str(error) if isinstance(error, OmniOPDError) else f"{type(error).__name__}: {error}")
