"""A run in several processes that one starts, follows and ends: a notebook's kernel is one process, and stays one.

    execute_in(run, 2) ─▶ python -m omniopd.pipeline.processes RUN 2 ddp … ─▶ omniopd train --resume RUN, twice

Who calls it reads the run's folder and passes interrupts on; where it is killed, what it has started notices. Where
the launcher is killed, the processes end after their step, as if told to, and are followed until then.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import IO

from omniopd.config.sharing import micro_batches
from omniopd.errors import RunError
from omniopd.io.interrupts import handled
from omniopd.io.texts import one_line
from omniopd.launch.starting import package_folders
from omniopd.pipeline.processes import PROGRAM, strategy_file
from omniopd.pipeline.run import execute
from omniopd.runs.files.claims import EXECUTING, LOCK, claim, claimed_by, lock_file, release
from omniopd.runs.following import Follower, show_progress
from omniopd.runs.progress import Progress
from omniopd.runs.status import GOING_ON
from omniopd.runs.store import Run, open_run, write_manifest

_LOOK_S = 0.5
_LEFT_S = 10.0  # how long what a run's processes have left behind is listened to
_SAYS = "omniopd: "  # how the command line begins an error


def execute_in(run: Run, processes: int = 1, strategy: str = "ddp", show: bool = True) -> Run:
    """`execute` in so many processes of this machine, which share its work by `strategy`; returns the run, finished.

    The first interrupt ends all after their step, with a checkpoint, the second at once. Raises KeyboardInterrupt
    then, ConfigError for a strategy that there is not and for processes that cannot share the rollouts, RunError where
    another process has the run, and with the words of the process that failed.
    """
    if processes == 1:
        return execute(run, show)
    training = run.recipe.training
    strategy_file(strategy)
    micro_batches(training.rollouts, training.micro_batch, processes)
    claim(run.path)
    try:
        run.manifest = replace(run.manifest, hardware={**run.manifest.hardware, "processes": processes})
        write_manifest(run)
        run.set_status(state="running", steps=training.steps, message=f"starting {processes} processes")
        gc.collect()  # a teacher that the caller has parted from may still hold the run's ledger
        held = _held(run.path)
    finally:
        release(run.path)  # the main one of them takes it
    with held:
        progress = Progress(training.steps, run.status.step) if show else None
        state = _Together(run, processes, strategy, progress).ended()
    if state == "interrupted":
        raise KeyboardInterrupt
    if state != "finished":
        raise RunError(run.status.message)
    return open_run(run.path)


class _Together:
    """The processes of a run, from their start to their end."""

    def __init__(self, run: Run, count: int, strategy: str, progress: Progress | None) -> None:
        self.run, self.count, self.strategy, self.progress = run, count, strategy, progress
        self.interrupts, self.last = 0, ""
        self.launcher: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        folders = [*package_folders(), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, "-P", "-m", PROGRAM, str(self.run.path.resolve()), str(self.count), self.strategy,
             str(os.getpid())],
            # A session of its own: of a group's signal it would hear twice. What they print the run's reader says.
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
            text=True, errors="replace", env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        )  # fmt: skip

    def ended(self) -> str:
        """Until all have ended: the run's state, which its status says, whatever the end was."""
        follower = Follower(self.run)
        with handled(self._on_signal, "SIGINT", "SIGTERM"):
            self.launcher = launcher = self._start()
            if self.interrupts:  # there was nobody yet to pass it on to
                launcher.send_signal(signal.SIGINT)
            listener = threading.Thread(target=self._listen, args=(launcher.stderr,), daemon=True)
            listener.start()
            alone_s = 0.0  # since nobody has the run
            # Whoever has the launcher's stderr may still be at work: the processes of one that was killed, for a while.
            while launcher.poll() is None or (listener.is_alive() and alone_s < _LEFT_S):
                time.sleep(_LOOK_S)
                self._show(follower)
                alone = launcher.poll() is not None and self._writer() is None
                alone_s = alone_s + _LOOK_S if alone else 0.0
            self._show(follower)
        state = self.run.status.state
        if state in GOING_ON:  # none of them came to say so
            state = "interrupted" if self.interrupts else "failed"
            message = "" if self.interrupts else self.last or f"{self.run.path}: its processes ended without a word"
            self.run.set_status(state=state, message=message)
        if self.progress is not None:
            self.progress.close(state)
        return state

    def _show(self, follower: Follower) -> None:
        if self.progress is not None:
            show_progress(follower.look(), self.progress)

    def _listen(self, stderr: IO[str]) -> None:
        with stderr:
            for line in stderr:
                print(line, end="", file=sys.stderr, flush=True)
                if line.startswith(_SAYS):
                    self.last = one_line(line.removeprefix(_SAYS))

    def _writer(self) -> int | None:
        """The process that has the run."""
        return claimed_by(self.run.path / LOCK)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.interrupts += 1
        if self.launcher is None:
            return
        with suppress(ProcessLookupError):
            # From the third on they get seconds, as where a launcher is ended.
            passed = signal.SIGINT if self.interrupts < 3 else signal.SIGTERM
            if self.launcher.poll() is None:
                self.launcher.send_signal(passed)
            elif (writer := self._writer()) is not None:  # the launcher was killed: the others end with this one
                os.kill(writer, passed)


def _held(path: Path) -> AbstractContextManager[object]:
    """The run goes on while its processes load and none of them has it yet, as of a notebook that was launched into
    its folder, whose process holds this lock already."""
    return lock_file(path / EXECUTING) or nullcontext()

