"""The runs of a study carried out: one process each, several at a time, resumable without a state of their own.

    FOLDER/ARM/seed=0/        a run; beside it seed=0.toml (its recipe), seed=0.log (what its process said), seed=0.lock
    FOLDER/trials/ARM/learning_rate=0.0008 seed=1000/

Executed again, finished runs are skipped, stopped and killed ones resumed, those that another process has in hand
waited for, the rest started. Knows plans and runs' folders; what is trained the process of a run knows.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from omniopd.config import recipe_toml
from omniopd.errors import ConfigError, RunError
from omniopd.io.units import duration
from omniopd.launch.claims import claim, is_claimed
from omniopd.launch.devices import device_environment, device_named, devices_here
from omniopd.launch.starting import package_folders
from omniopd.runs.atomic import write_text
from omniopd.runs.claims import is_claimed as has_holder
from omniopd.runs.status import GOING_ON
from omniopd.runs.store import LAUNCHED, MANIFEST, open_run
from omniopd.sweeps.study import PlannedRun

PAUSE_S = 0.2
NOT_STARTED = "not started"
_MAY_DIFFER = ("training.threads", "training.device")  # where a run computes, not what


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a planned run stands after a sweep. `message` says why one failed."""

    planned: PlannedRun
    path: Path
    state: str
    message: str = ""


def execute(
    plan: Sequence[PlannedRun],
    folder: Path,
    jobs: int | None = None,
    devices: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> list[RunOutcome]:
    """Do what the plan still lacks, `jobs` runs at a time (None: one a device; on CPU as many as the cores bear).

    A run that fails does not end the others. On Ctrl-C or SIGTERM the runs in progress end with their step and a
    checkpoint, and KeyboardInterrupt goes on. Raises RunError, before anything starts, where a run of the plan's place
    was made by other settings.
    """
    refuse_mixed(plan, folder)
    return _Sweep(plan, folder, places(plan, jobs, devices), say).execute()


def refuse_mixed(plan: Sequence[PlannedRun], folder: Path) -> None:
    """Raises RunError for a run that was begun with other settings than the plan has, naming the first of them."""
    for planned in plan:
        path = folder / planned.place
        if not (path / MANIFEST).exists():
            continue
        there, wanted = _flat(open_run(path).recipe.as_dict()), _flat(planned.recipe.as_dict())
        key = next((k for k, value in wanted.items() if k not in _MAY_DIFFER and there.get(k) != value), None)
        if key is not None:
            raise RunError(
                f"{path} was run with {key} = {there.get(key)!r}, and the plan says {wanted[key]!r}: give the sweep "
                "another --name, or move that run away"
            )


def places(plan: Sequence[PlannedRun], jobs: int | None = None, devices: Sequence[str] = ()) -> list[str]:
    """The device of each run that may go on at once. Raises ConfigError for a device or a number that cannot be."""
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs is {jobs}: run at least one at a time")
    on_cpu = all(planned.recipe.training.device == "cpu" for planned in plan)
    named = [device_named(word) for word in devices] or (["cpu"] if on_cpu else devices_here())
    at_once = len(named)
    if named == ["cpu"]:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        at_once = max(1, cores // max((p.recipe.training.threads or cores for p in plan), default=1))
    return [named[i % len(named)] for i in range(jobs or at_once)]


@dataclass(slots=True)
class _Hand:
    """A run that goes on: in a process of ours, or (None) in one that another sweep started."""

    planned: PlannedRun
    child: subprocess.Popen[bytes] | None
    began: float


class _Sweep:
    def __init__(self, plan: Sequence[PlannedRun], folder: Path, places: list[str], say: Callable[[str], None]) -> None:
        self.folder, self.places, self.say = folder, places, say
        self.plan, self.waiting = list(plan), list(plan)
        self.hands: dict[int, _Hand] = {}  # by the place that a run takes up
        self.ended: dict[Path, RunOutcome] = {}
        self.took: list[float] = []  # seconds of the runs that this sweep has seen from their start to their end

    def execute(self) -> list[RunOutcome]:
        with _terminated_is_interrupted():
            try:
                while self.waiting or self.hands:
                    self._fill()
                    if self.hands:
                        time.sleep(PAUSE_S)
                    self._collect()
            except KeyboardInterrupt:
                self._stop()
                raise
        return [self.ended[planned.place] for planned in self.plan]

    def _fill(self) -> None:
        for place, device in enumerate(self.places):
            while self.waiting and place not in self.hands:
                planned = self.waiting.pop(0)
                path = self.folder / planned.place
                # Looked at under the claim, which the run's process holds from then on.
                with claim(path) or nullcontext() as held:
                    state = _state(path)
                    if state == "finished":
                        self.ended[planned.place] = RunOutcome(planned, path, state)
                    elif held is None or state in GOING_ON:
                        self.say(f"{planned}: goes on in another process, which is waited for {self._count()}")
                        self.hands[place] = _Hand(planned, None, time.monotonic())
                    else:
                        self.hands[place] = _Hand(planned, _started(planned, path, device, held), time.monotonic())
                        self.say(f"{planned}: {'resumed' if state != NOT_STARTED else 'started'} {self._count()}")

    def _collect(self) -> None:
        for place, hand in list(self.hands.items()):
            path = self.folder / hand.planned.place
            if hand.child is not None and hand.child.poll() is None:
                continue
            state = _state(path)
            if state in GOING_ON or (hand.child is None and is_claimed(path)):
                hand.child = None  # in another sweep's hand
                continue
            del self.hands[place]
            if hand.child is None:
                self.waiting.insert(0, hand.planned)  # finished, or to be resumed
                continue
            seconds = time.monotonic() - hand.began
            message = "" if state == "finished" else _why(path, hand.child)
            state = "failed" if state == NOT_STARTED else state
            self.ended[hand.planned.place] = RunOutcome(hand.planned, path, state, message)
            if state == "finished":
                self.took.append(seconds)
            said = f"{hand.planned}: {state} after {duration(seconds)}{': ' * bool(message)}{message}"
            self.say(f"{said} ({len(self.ended)} of {len(self.plan)} done{self._left()})")

    def _count(self) -> str:
        return f"({len(self.ended) + len(self.hands)} of {len(self.plan)})"

    def _left(self) -> str:
        """What is left, if runs to come take as long as those before; those that go on count whole."""
        left = len(self.waiting) + len(self.hands)
        if not left or not self.took:
            return ""
        return f", about {duration(sum(self.took) / len(self.took) * left / min(len(self.places), left))} left"

    def _stop(self) -> None:
        children = [hand.child for hand in self.hands.values() if hand.child is not None]
        if children:
            self.say("Stopping the runs after their steps, with a checkpoint each; once more: at once.")
        # The first one waits for a step, the second does not, the third cannot be refused.
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL if os.name == "posix" else signal.SIGTERM):
            for child in children:
                if child.poll() is None:
                    child.send_signal(number)
            try:
                for child in children:
                    child.wait()
                return
            except KeyboardInterrupt:
                continue


def _started(planned: PlannedRun, path: Path, device: str, held: IO[Any]) -> subprocess.Popen[bytes]:
    """The process of a run, new or resumed, which takes over the claim on it."""
    words = [sys.executable, "-P", "-m", "omniopd.cli.main", "train"]
    if (path / MANIFEST).exists():
        words += ["--resume", str(path)]
    else:
        # What a process left that was killed before its folder was a run.
        shutil.rmtree(path, ignore_errors=True)
        recipe = _beside(path, "toml")
        write_text(recipe, recipe_toml(planned.recipe))
        words += [str(recipe), "--runs", str(path.parent), "--name", path.name]
    threads = planned.recipe.training.threads
    environment = {name: value for name, value in os.environ.items() if name != LAUNCHED}
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    own = os.pathsep.join([*package_folders(), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment |= {"PYTHONPATH": own} | device_environment(device)
    with open(_beside(path, "log"), "ab") as log:
        # A session of its own: a terminal's Ctrl-C reaches the sweep alone, which asks its runs once.
        return subprocess.Popen(
            [*words, "--quiet"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            start_new_session=True, pass_fds=(held.fileno(),) if os.name == "posix" else (),
        )  # fmt: skip


def _state(path: Path) -> str:
    if (path / MANIFEST).exists():
        return open_run(path).state
    # A folder is a run once it has a manifest; whoever makes one has claimed it already.
    return "running" if has_holder(path) else NOT_STARTED


def _why(path: Path, child: subprocess.Popen[bytes]) -> str:
    """Why a process did not finish its run: the run's own words, or the last ones of its log."""
    if child.returncode < 0:
        return f"its process was killed ({signal.Signals(-child.returncode).name})"
    if (path / MANIFEST).exists():
        status = open_run(path).status
        if status.pid == child.pid and status.message:
            return status.message
    text = _beside(path, "log").read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("omniopd: ") if lines else "its process ended without a word"


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flat(inner, f"{prefix}{name}.") if isinstance(inner, Mapping) else {prefix + name: inner}
    return flat


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM end a sweep alike; a no-op outside the main thread, where Python delivers none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupted(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell that starts something in the background has it ignored.
    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
