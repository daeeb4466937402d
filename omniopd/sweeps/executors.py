"""Runs a plan on this machine: a process a run, one at a time on each device, resumable.

    FOLDER/ARM/seed=0/        a run; beside it seed=0.toml (its recipe), seed=0.log (its output), seed=0.lock
    FOLDER/trials/ARM/learning_rate=0.0008 seed=1000/

Finished runs are skipped, stopped and killed ones resumed, those of another process waited for, the rest started.
Knows planned runs and their folders; what a run computes only its own process knows.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from omniopd.errors import ConfigError
from omniopd.io.interrupts import handled
from omniopd.io.locks import is_locked
from omniopd.io.units import duration
from omniopd.launch.folder import is_launched
from omniopd.launch.launched import Launched, kill_tree
from omniopd.launch.starting import last_line, package_folders
from omniopd.runs.files.claims import lock_file, start_lock
from omniopd.runs.files.folders import LAUNCHED
from omniopd.runs.status import GOING_ON, start_of
from omniopd.sweeps.plan import NOT_STARTED, PlannedRun, RunOutcome, state_in

PAUSE_S = 0.2
_REFUSED = 2  # the exit code of a command that could not begin


@dataclass(slots=True)
class _Running:
    """A run in progress: in a process of ours, or (None) in one that another sweep started."""

    planned: PlannedRun
    child: subprocess.Popen[bytes] | None
    began: float


class LocalExecutor:
    """Runs a plan in processes of this machine, one at a time for each entry of `devices`; `log` gets its messages."""

    def __init__(self, devices: Sequence[str], log: Callable[[str], None] = print) -> None:
        self.devices, self.log = list(devices), log
        if not self.devices:
            raise ConfigError('no device is named to compute on: give one, such as "auto" or "cpu"')

    def run(self, plan: Sequence[PlannedRun], folder: Path) -> list[RunOutcome]:
        """Do what the plan still lacks; returns how every run ended, in the order of the plan.

        A run that fails does not end the others. On Ctrl-C or SIGTERM the runs in progress end with their step and a
        checkpoint, and KeyboardInterrupt is raised.
        """
        self.folder, self.plan, self.waiting = folder, list(plan), list(plan)
        self.running: dict[int, _Running] = {}  # by the index of its device
        self.ended: dict[Path, RunOutcome] = {}
        self.durations: list[float] = []  # seconds of the runs that this sweep saw from start to end
        # SIGINT too: a shell that starts something in the background has it ignored.
        with handled(signal.default_int_handler, "SIGINT", "SIGTERM"):
            try:
                while self.waiting or self.running:
                    self._start_waiting()
                    if self.running:
                        time.sleep(PAUSE_S)
                    self._collect_ended()
            except KeyboardInterrupt:
                self._stop()
                raise
        return [self.ended[planned.place] for planned in self.plan]

    def _start_waiting(self) -> None:
        for slot, device in enumerate(self.devices):
            while self.waiting and slot not in self.running:
                planned = self.waiting.pop(0)
                path = self.folder / planned.place
                # The state is read under the claim, which the run's process holds from then on.
                with lock_file(start_lock(path)) or nullcontext() as held:
                    state = state_in(path)
                    if state == "finished":
                        self.ended[planned.place] = RunOutcome(planned, path, state)
                    elif held is None or state in GOING_ON:
                        self.log(f"{planned}: goes on in another process, which is waited for {self._count()}")
                        self.running[slot] = _Running(planned, None, time.monotonic())
                    else:
                        child = _start(planned, path, device, held)
                        self.running[slot] = _Running(planned, child, time.monotonic())
                        self.log(f"{planned}: {'started' if state == NOT_STARTED else 'resumed'} {self._count()}")

    def _collect_ended(self) -> None:
        for slot, run in list(self.running.items()):
            path = self.folder / run.planned.place
            if run.child is not None and run.child.poll() is None:
                continue
            state = state_in(path)
            if state in GOING_ON or (run.child is None and is_locked(start_lock(path))):
                run.child = None  # another process has it
                continue
            del self.running[slot]
            if run.child is None:
                self.waiting.insert(0, run.planned)  # finished, or to be resumed
                continue
            seconds = time.monotonic() - run.began
            message = "" if state == "finished" else _reason(path, run.child)
            state = "failed" if state == NOT_STARTED else state
            self.ended[run.planned.place] = RunOutcome(run.planned, path, state, message)
            if state == "finished":
                self.durations.append(seconds)
            line = f"{run.planned}: {state} after {duration(seconds)}{': ' * bool(message)}{message}"
            self.log(f"{line} ({len(self.ended)} of {len(self.plan)} done{self._left()})")

    def _count(self) -> str:
        return f"({len(self.ended) + len(self.running)} of {len(self.plan)})"

    def _left(self) -> str:
        """The time left if the other runs take as long as those before; runs in progress count in full."""
        left = len(self.waiting) + len(self.running)
        if not left or not self.durations:
            return ""
        mean = sum(self.durations) / len(self.durations)
        return f", about {duration(mean * left / min(len(self.devices), left))} left"

    def _stop(self) -> None:
        children = [run.child for run in self.running.values() if run.child is not None]
        if children:
            self.log("Stopping the runs after their steps, with a checkpoint each; once more: at once.")
        # The first request waits for the step, the second does not, the third cannot be refused.
        for attempt in range(3):
            for child in children:
                if child.poll() is None and attempt < 2:
                    child.send_signal(signal.SIGTERM)
                elif child.poll() is None:
                    kill_tree(child.pid, start_of(child.pid))
            try:
                for child in children:
                    child.wait()
                break
            except KeyboardInterrupt:
                continue
        # A notebook outlives the command that watches it where that one was ended before it could listen.
        for run in self.running.values():
            path = self.folder / run.planned.place
            if run.child is not None and is_launched(path) and Launched(path).is_running():
                Launched(path).stop()


def _start(planned: PlannedRun, path: Path, device: str, held: IO[Any]) -> subprocess.Popen[bytes]:
    """The process of a run, new or resumed, which inherits the claim on it."""
    command = planned.command(path, device)
    environment = {name: value for name, value in os.environ.items() if name != LAUNCHED} | dict(command.environment)
    environment["PYTHONPATH"] = os.pathsep.join([*package_folders(), *filter(None, [os.environ.get("PYTHONPATH")])])
    with open(_log_of(path), "ab") as log:
        # A session of its own: a terminal's Ctrl-C reaches the sweep alone, which asks its runs once.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "omniopd.cli.main", *command.words], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, env=environment, start_new_session=True,
            pass_fds=(held.fileno(),) if os.name == "posix" else (),
        )  # fmt: skip


def _reason(path: Path, child: subprocess.Popen[bytes]) -> str:
    """Why a process did not finish its run: the run's own words, or the last ones of its log."""
    if child.returncode < 0:
        return f"its process was killed ({signal.Signals(-child.returncode).name})"
    status = Launched(path).status  # of a run without a notebook, too
    if status.message and (status.pid == child.pid or (is_launched(path) and child.returncode != _REFUSED)):
        return status.message
    return last_line(_log_of(path)).removeprefix("omniopd: ")


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.log")
