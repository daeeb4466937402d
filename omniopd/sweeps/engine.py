"""Carries a plan out through an executor, and says how it goes. All that is known of a run is read from its folder.

    FOLDER/ARM/seed=0/        a run; beside it what `job.py` says
    FOLDER/trials/ARM/learning_rate=0.0008 seed=1000/
    FOLDER/sweep.lock         held by the sweep that carries runs of FOLDER out

Finished runs are skipped, stopped and killed ones resumed, those that another process has waited for, the rest begun.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omniopd.errors import RunError
from omniopd.io.interrupts import handled
from omniopd.io.locks import holder, holder_machine, is_locked
from omniopd.io.units import duration
from omniopd.runs.files.claims import lock_file, start_lock
from omniopd.runs.status import GOING_ON
from omniopd.sweeps.job import end_notebook, reason
from omniopd.sweeps.plan import NOT_STARTED, SWEEP_LOCK, Ended, Executor, PlannedRun, RunOutcome, state_in


def carry_out(
    plan: Sequence[PlannedRun], folder: Path, executor: Executor, log: Callable[[str], None] = print
) -> list[RunOutcome]:
    """Do what a plan still lacks; returns how every run ended, in the order of the plan. `log` gets the messages.

    A run that fails does not end the others. Raises RunError where another sweep has the folder, and what
    `executor.check` raises; on Ctrl-C or SIGTERM, KeyboardInterrupt when the runs have ended with a checkpoint.
    """
    # SIGINT too: a shell that starts something in the background has it ignored.
    with driving(folder), handled(signal.default_int_handler, "SIGINT", "SIGTERM"):
        executor.check(folder)
        return _Sweep(plan, folder, executor, log).run()


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Be the one sweep that carries runs of a folder out. Raises RunError where another is, or in a folder that cannot
    be written."""
    file = folder / SWEEP_LOCK
    held = lock_file(file, "give a folder that may be written with --runs")
    if held is None:
        machine = holder_machine(file)
        who = f"process {holder(file)}{f' on {machine}' if machine else ''}"
        raise RunError(
            f"{folder} is being carried out by another sweep ({who}): wait for it, stop it, or give this one a --name "
            "of its own"
        )
    with held:
        yield


class _Sweep:
    def __init__(
        self, plan: Sequence[PlannedRun], folder: Path, executor: Executor, log: Callable[[str], None]
    ) -> None:
        self.plan = {folder / planned.place: planned for planned in plan}
        self.executor, self.log = executor, log
        self.before = {path: state_in(path) for path in self.plan}
        self.left = [path for path in self.plan if self.before[path] != "finished"]
        self.begun: dict[Path, float] = {}  # when their jobs were first seen at work
        self.failed: dict[Path, RunOutcome] = {}
        self.since, self.done = time.monotonic(), 0

    def run(self) -> list[RunOutcome]:
        for path in self.left:
            if self.before[path] not in GOING_ON:
                self.plan[path].prepare(path)
        try:
            if self.left and (words := self.executor.submit(self.left)):
                self.log(words)
            while self.left:
                self._look()
        except KeyboardInterrupt:
            self._stop()
            raise
        return [self.failed.get(path) or RunOutcome(one, path, "finished") for path, one in self.plan.items()]

    def _look(self) -> None:
        for path in self.left:
            if path not in self.begun and is_locked(start_lock(path)):
                self._has_begun(path)
        for job in self.executor.ended():
            self._has_ended(job)
        if self.left:
            time.sleep(self.executor.pause_s)

    def _has_begun(self, path: Path) -> None:
        self.begun[path] = time.monotonic()
        before, machine = self.before[path], holder_machine(start_lock(path))
        what = "started" if before == NOT_STARTED else "resumed"
        if before in GOING_ON:
            what = "goes on in another process, which is waited for"
        count = len(self.plan) - len(self.left) + sum(path in self.begun for path in self.left)
        self.log(f"{self.plan[path]}: {what}{f' on {machine}' if machine else ''} ({count} of {len(self.plan)})")

    def _has_ended(self, job: Ended) -> None:
        path, planned, state = job.path, self.plan[job.path], state_in(job.path)
        message = ""
        if state != "finished":
            message = job.words or reason(path, job.code)
            # Whatever else it may say: what should end it has ended.
            state = "failed" if state in (NOT_STARTED, *GOING_ON) else state
            self.failed[path] = RunOutcome(planned, path, state, message)
        self.left.remove(path)
        self.done += 1
        took = duration(time.monotonic() - self.begun.get(path, self.since))
        words = f"{planned}: {state} after {took}{': ' * bool(message)}{message}"
        self.log(f"{words} ({len(self.plan) - len(self.left)} of {len(self.plan)} done{self._time_left()})")

    def _time_left(self) -> str:
        """If the other runs end at the pace of those before."""
        left = (time.monotonic() - self.since) / self.done * len(self.left)
        return f", about {duration(left)} left" if self.left else ""

    def _stop(self) -> None:
        if self.executor.outlives:
            self.log(self.executor.outlives)
            return
        # The first request waits for the step, the second does not, the third cannot be refused.
        for attempt in range(3):
            try:
                if attempt == 0:
                    self.log("Stopping the runs after their steps, with a checkpoint each; once more: at once.")
                self.executor.stop(attempt)
                while self.executor.at_hand:
                    self._look()
                for path in self.begun:
                    end_notebook(path)
                return
            except KeyboardInterrupt:
                continue
