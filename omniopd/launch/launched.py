"""A launched run, watched and stopped from any process: everything is read from its folder.

Three ways to end a run, each stronger: `stop` after the step in progress, with a checkpoint; `interrupt` now, with the
traceback; `kill`, kernel first, because nothing in a kernel busy with native code would hear anything else.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from omniopd.errors import RunError
from omniopd.io.locks import holder_machine, is_locked
from omniopd.launch.folder import (
    INTERRUPT,
    KILL,
    LOG,
    STOP,
    Launch,
    Process,
    is_launched,
    lock_of,
    read_launch,
    read_process,
    want,
    wanted,
)  # fmt: skip
from omniopd.runs.files.claims import LOCK, claimed_by
from omniopd.runs.status import GOING_ON, Status, changed, is_alive, read_status, start_of, state_of, write_status
from omniopd.runs.store import MANIFEST, STATUS, Run, open_run

PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Launched:
    """A notebook that was launched into a folder, running or over."""

    path: Path

    @property
    def launch(self) -> Launch:
        """What was launched."""
        return read_launch(self.path)

    @property
    def process(self) -> Process:
        """What executes it, or did last."""
        return read_process(self.path)

    @property
    def notebook(self) -> Path:
        """The executed copy, as far as it has come."""
        return self.path / self.launch.notebook

    @property
    def log(self) -> Path:
        return self.path / LOG

    @property
    def run(self) -> Run | None:
        """The run whose records stand here, once the notebook has made one."""
        return open_run(self.path) if (self.path / MANIFEST).is_file() else None

    @property
    def status(self) -> Status:
        """As `Run.status`, also of a notebook that has made no run (yet)."""
        try:
            return read_status(self.path / STATUS)
        except RunError as error:
            with suppress(RunError):
                return open_run(self.path).status
            return Status("running", message=str(error).partition(": is ")[0])

    @property
    def state(self) -> str:
        """As `Run.state`; a run whose kernel was killed a moment ago is running until its process has said so."""
        return state_of(self.status, self.path)

    @property
    def exit_code(self) -> int | None:
        """None while it goes on; 1 where the process was gone without a word."""
        if self.is_running():
            return None
        code = self.process.exit_code
        return 1 if code is None else code

    @property
    def wanted(self) -> str:
        """The end that somebody asked for: "stop", "interrupt", "kill", or ""."""
        return wanted(self.path)

    def is_running(self) -> bool:
        """Whether the process that executes the notebook lives, waiting in the queue included: whether it holds its
        lock. Where the system has no locks its number and its start tell."""
        with suppress(OSError):
            if lock_of(self.path).is_file() and is_locked(lock_of(self.path)):
                return True
        process = self.process
        return process.exit_code is None and is_alive(process.pid, process.pid_started)

    def stop(self) -> None:
        """Ask the training to end after its step, with a checkpoint; where none is going on, end the cell at once."""
        self._ask(STOP, signal.SIGINT)

    def interrupt(self) -> None:
        """End the cell in progress now; its traceback is kept. The run goes on from its last checkpoint."""
        self._ask(INTERRUPT, signal.SIGTERM)

    def kill(self, patience_s: float = 10.0) -> None:
        """End everything at once and return when it has ended. The run goes on from its last checkpoint."""
        process = self.process
        want(self.path, KILL)
        kill_tree(process.kernel_pid, process.kernel_started)
        # The process that executed the notebook writes down what happened; one that cannot is killed as well.
        if process.kernel_pid == 0 or not self.wait(patience_s):
            kill_tree(process.pid, process.pid_started)
            self.wait(patience_s)
        if self.status.state in GOING_ON:
            write_status(self.path / STATUS, changed(self.status, state="interrupted", message="killed"))

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until the process has ended; False where it has not within the time."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self.is_running():
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(PAUSE_S)
        return True

    def _ask(self, how: str, number: int) -> None:
        want(self.path, how)
        process = self.process
        for pid, started in ((process.pid, process.pid_started), (process.kernel_pid, process.kernel_started)):
            if is_alive(pid, started):
                os.kill(pid, number)
                return


def attach(path: str | Path) -> Launched:
    """The launched run in a folder. Raises RunError for a folder into which no notebook was launched."""
    path = Path(path)
    read_launch(path)
    return Launched(path)


def launched_in(folder: str | Path) -> list[Launched]:
    """The launched runs directly inside a folder and inside its sweeps, newest first; one whose account of its launch
    cannot be read comes last."""
    folder = Path(folder)
    found = [file.parents[1] for pattern in ("*", "*/*") for file in folder.glob(f"{pattern}/launch/launch.json")]
    return sorted(map(Launched, found), key=lambda each: (_created(each), each.path.name), reverse=True)


def _created(launched: Launched) -> str:
    try:
        return str(launched.launch.created)
    except RunError:
        return ""  # the table of runs shows the error in its row


def end_run(path: str | Path, how: str = STOP) -> None:
    """End a run that goes on, launched or started from a terminal: "stop", "interrupt" or "kill".

    Raises RunError where there is nothing to end.
    """
    path = Path(path)
    for lock in (path / LOCK, lock_of(path)):
        if claimed_by(lock) is not None and (machine := holder_machine(lock)):
            raise RunError(f"{path} is being run on {machine}, which cannot be reached from here: stop it there")
    if is_launched(path) and Launched(path).is_running():
        launched = Launched(path)
        {STOP: launched.stop, INTERRUPT: launched.interrupt, KILL: launched.kill}[how]()
        return
    status, state = (of := Launched(path) if is_launched(path) else open_run(path)).status, of.state
    if state not in GOING_ON:
        raise RunError(f"{path} is not going on: it is {state}")
    # The lock knows whose the run is even where the status was lost.
    pid = claimed_by(path / LOCK) or status.pid
    if how == KILL:
        kill_tree(pid, start_of(pid))
        return
    for _ in range(1 if how == STOP else 2):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        # Two signals at once would be one.
        time.sleep(0.0 if how == STOP else 0.5)


def kill_tree(pid: int, started: float) -> None:
    """SIGKILL to a process and all that it started; the processes of others that took its number are spared."""
    import psutil

    if not is_alive(pid, started):
        return
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
