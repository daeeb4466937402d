"""Reading a run that is still being written, from any process: what is new since the last look.

Never waits, never writes, and takes only whole lines. A run that was resumed has set records aside: its files are then
shorter or other ones, and the follower reads them again from their beginning and reports it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omniopd.errors import RunError
from omniopd.records import EvalRecord, StepRecord, read_record
from omniopd.runs.files.atomic import open_file
from omniopd.runs.mirror import follow
from omniopd.runs.progress import Progress
from omniopd.runs.status import GOING_ON, Status, state_of
from omniopd.runs.store import EVALS, STEPS, Run, open_run

_TAIL = 256  # bytes before the place reached, by which a file is recognised
_CHUNK = 32 * 2**20  # bytes read at one look, so that a long file is not a long wait


@dataclass(frozen=True, slots=True)
class Update:
    """What is new since the last look.

    After `restarted` the steps and evaluations given before no longer count: `steps` and `evals` begin anew.
    `rollout_steps` are all that exist now. `problems` are lines that could not be read. `status` is None where the run
    is gone; `state` is as `Run.state`.
    """

    steps: tuple[StepRecord, ...] = ()
    evals: tuple[EvalRecord, ...] = ()
    rollout_steps: tuple[int, ...] = ()
    status: Status | None = None
    state: str = ""
    restarted: bool = False
    problems: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether no process writes the run any more."""
        return self.state not in (*GOING_ON, "")


def show_progress(update: Update, progress: Progress) -> None:
    """Put what came onto a line of progress, and what is being done where the run goes on."""
    records: list[StepRecord | EvalRecord] = [*update.steps, *update.evals]
    for record in records:
        progress.show(record)
    if update.status is not None and update.status.message and update.state in GOING_ON:
        progress.doing(update.status.message)


class Follower:
    """Looks at one run again and again. `steps` and `evals` hold all that counts so far."""

    def __init__(self, run: Run | str | Path) -> None:
        self.run = run if isinstance(run, Run) else open_run(run)
        self.steps: list[StepRecord] = []
        self.evals: list[EvalRecord] = []
        self._files = {STEPS: _Place(self.run.path / STEPS), EVALS: _Place(self.run.path / EVALS)}

    def look(self) -> Update:
        """What came since the last look; returns at once, but for a copy of a run that stands elsewhere (mirror.py)."""
        problems: list[str] = []
        try:
            follow(self.run.path)
        except RunError as error:  # the network may be back at the next look
            problems.append(str(error))
        status = self.run.status if self.run.path.is_dir() else None
        restarted = any(place.restart_if_other() for place in self._files.values())
        if restarted:
            # Both from the beginning: a step belongs beside the evaluations of its own past.
            for place in self._files.values():
                place.restart()
            self.steps, self.evals = [], []
        steps = self._files[STEPS].read(StepRecord, problems)
        evals = self._files[EVALS].read(EvalRecord, problems)
        self.steps += steps
        self.evals += evals
        return Update(
            tuple(steps), tuple(evals), tuple(self.run.rollout_steps()), status,
            state_of(status, self.run.path) if status else "", restarted, tuple(problems),
        )  # fmt: skip


@dataclass(slots=True)
class _Place:
    """How far a file has been read: bytes, lines, and by what to know the file again."""

    path: Path
    offset: int = 0
    line: int = 0
    identity: tuple[int, int] | None = None
    tail: bytes = field(default=b"", repr=False)

    def restart(self) -> None:
        self.offset, self.line, self.identity, self.tail = 0, 0, None, b""

    def restart_if_other(self) -> bool:
        """Start over where the file is no longer the one that was read; True if something read no longer counts."""
        if self.offset == 0:
            return False
        try:
            with open_file(self.path) as file:
                state = os.fstat(file.fileno())
                same = (state.st_dev, state.st_ino) == self.identity and state.st_size >= self.offset
                if same:
                    # A file system may give the number of a removed file to a new one.
                    file.seek(self.offset - len(self.tail))
                    same = file.read(len(self.tail)) == self.tail
        except OSError:
            same = False
        if not same:
            self.restart()
        return not same

    def read(self, kind: type[Any], problems: list[str]) -> list[Any]:
        """The records of whole lines since the last time; a line that cannot be read is passed over and named."""
        try:
            with open_file(self.path) as file:
                state = os.fstat(file.fileno())
                file.seek(self.offset)
                data = file.read(_CHUNK)
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        if not whole:
            return []
        self.identity = (state.st_dev, state.st_ino)
        self.offset += len(whole)
        self.tail = (self.tail + whole)[-_TAIL:]
        records: list[Any] = []
        for text in whole.split(b"\n")[:-1]:
            self.line += 1
            try:
                record = read_record(text.decode())
            except ValueError as error:
                problems.append(f"line {self.line} of {self.path.name} cannot be read: {error}")
                continue
            if isinstance(record, kind):
                records.append(record)
            else:
                problems.append(f"line {self.line} of {self.path.name} is a record of kind {record.kind!r}")
        return records
