"""Jobs in SLURM's queue, through submitit: an array of them, each requeued where it is preempted or its time is up.

    FOLDER/submitit/         submitit's own files: what it submitted, what its jobs printed
    FOLDER/ARM/seed=0.job    the queue's number of the run's job, by which a sweep that comes back finds it again

SLURM ends a job with signals: USR2, some seconds before it is killed, at which submitit asks the job for a checkpoint
and requeues it; TERM, where it is cancelled or preempted. A requeued job goes on as any job does.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from omniopd.errors import ConfigError, RunError
from omniopd.runs.files.atomic import write_text
from omniopd.sweeps import job
from omniopd.sweeps.needs import library, require_locks
from omniopd.sweeps.plan import Ended, near

FOLDER = "submitit"
LOCAL = "local"  # submitit's processes on this machine, to try the same without SLURM
_TIMEOUTS = 100  # how often a run may come to the end of its time, and be requeued
_SQUEUE = ("squeue", "--me", "--noheader", "--array", "--format=%i")
_ASK_S = 15.0  # between two questions to SLURM's controller, which all its users ask
_TOGETHER_S = 1.0  # of TERM and USR2, which come together where a node is taken back, Python hears USR2 first
_LAST_WORDS_S = 60.0  # that a job which was asked to end waits to be requeued or killed


class SlurmExecutor:
    """`parameters` are submitit's: partition, timeout_min, gpus_per_node, cpus_per_task, mem_gb …; and `cluster`, which
    may be "local". Raises ConfigError for one that it does not have."""

    pause_s = 2.0

    def __init__(self, parameters: Mapping[str, Any], device: str | None = None) -> None:
        self.submitit = library("submitit", "--executor slurm")
        self.parameters, self.device = dict(parameters), device
        self.cluster = self.parameters.pop("cluster", "slurm")
        if self.cluster not in ("slurm", LOCAL):
            raise ConfigError(f"cluster is {self.cluster!r}: it is slurm, or local to try the same on this machine")
        generic = self.submitit.AutoExecutor._typed_parameters()
        known = {*generic, *self.submitit.SlurmExecutor._valid_parameters(), "max_num_timeout"}
        for key in self.parameters:
            if key not in known:
                raise ConfigError(f"{key} is not a parameter of submitit's; {near(key, sorted(known))}")
        if not {"timeout_min", "time"} & set(self.parameters):
            raise ConfigError(
                "SLURM must know how long a job may take: give minutes, --slurm timeout_min=240; a run that takes "
                "longer is requeued and goes on"
            )
        self._jobs: dict[Path, Any] = {}
        self._asked = -_ASK_S  # when the queue was last asked

    @property
    def outlives(self) -> str:
        numbers = ", ".join(sorted({str(one.job_id).split("_")[0] for one in self._jobs.values()}))
        return f"The jobs stay in the queue ({numbers}): `scancel` ends them, and the same command follows them again."

    @property
    def at_hand(self) -> list[Path]:
        return list(self._jobs)

    def check(self, folder: Path) -> None:
        require_locks(folder)
        more = dict(self.parameters)
        often = {"slurm_max_num_timeout": more.pop("max_num_timeout", _TIMEOUTS)}
        generic = self.submitit.AutoExecutor._typed_parameters()
        try:
            self.queue = self.submitit.AutoExecutor(folder / FOLDER, cluster=self.cluster, **often)
            words = {key if key in generic else f"slurm_{key}": value for key, value in more.items()}
            self.queue.update_parameters(**{"name": folder.name, **words})
        except (RuntimeError, AssertionError, ValueError, NameError, TypeError) as error:
            raise ConfigError(f"SLURM's queue cannot be used from here: {str(error).splitlines()[0]}") from error

    def submit(self, paths: Sequence[Path]) -> str:
        queued = self._numbers_queued()
        kept = {path: found for path in paths if (found := self._queued(path, queued)) is not None}
        new = [path for path in paths if path not in kept]
        self._jobs = dict(kept)
        again = f"{len(kept)} jobs are in the queue already"
        if not new:
            return again
        try:
            with self.queue.batch():
                made = [self.queue.submit(Job(str(path.resolve()), self.device)) for path in new]
        except Exception as error:  # sbatch's own words, in one of several exceptions
            raise RunError(f"SLURM took no jobs: {str(error).strip().splitlines()[-1]}") from error
        for path, one in zip(new, made, strict=True):
            self._jobs[path] = one
            write_text(_number(path), f"{one.job_id}\n")
        return f"{len(new)} jobs were put into the queue as {made[0].job_id} …{f'; {again}' if kept else ''}"

    def ended(self) -> Iterator[Ended]:
        queued = self._numbers_queued() if self._jobs else None
        for path, one in list(self._jobs.items()):
            if self._is_over(one, queued):
                del self._jobs[path]
                _number(path).unlink(missing_ok=True)
                yield self._outcome(path, one)

    def stop(self, attempt: int) -> None:
        self._jobs.clear()  # they stay in the queue

    def _outcome(self, path: Path, one: Any) -> Ended:
        if self.cluster != LOCAL and not one.paths.result_pickle.exists():
            return Ended(path, 1, f"job {one.job_id} has left the queue without an end of its own: was it cancelled?")
        error = one.exception()
        if error is None:
            return Ended(path, one.result())
        told = str(error)
        if "No module named 'omniopd'" in told:
            return Ended(path, 1, f"the node of job {one.job_id} lacks the package: install omniopd there as well")
        lines = [line.strip() for line in told.splitlines() if line.strip("- ")]
        last = next((line for line in reversed(lines) if "Error: " in line), lines[0])
        return Ended(path, 1, f"job {one.job_id} failed: {last}")

    def _queued(self, path: Path, queued: Collection[str] | None) -> Any | None:
        """The job that an earlier sweep has submitted for a run, where it has not ended."""
        kind = self.submitit.LocalJob if self.cluster == LOCAL else self.submitit.SlurmJob
        try:
            number = _number(path).read_text(encoding="utf-8").strip()
        except OSError:
            return None
        if not number.replace("_", "").isdecimal():
            return None
        found = kind(self.queue.folder, number)
        return None if self._is_over(found, queued) else found

    def _is_over(self, one: Any, queued: Collection[str] | None) -> bool:
        if self.cluster == LOCAL:
            return bool(one.done())
        return one.paths.result_pickle.exists() or (queued is not None and one.job_id not in queued)

    def _numbers_queued(self) -> Collection[str] | None:
        """The numbers of this user's jobs that wait or run; None where nobody says so, or it was asked a moment ago.

        submitit asks `sacct`, which only clusters with a database answer.
        """
        if self.cluster == LOCAL or time.monotonic() - self._asked < _ASK_S:
            return None
        asked = subprocess.run(_SQUEUE, capture_output=True, text=True)
        self._asked = time.monotonic()
        return set(asked.stdout.split()) if asked.returncode == 0 else None


class Job:
    """What submitit calls in SLURM's job, and asks for a checkpoint. Holds strings alone: it is pickled."""

    def __init__(self, path: str, device: str | None) -> None:
        self.path, self.device, self._is_asked = path, device, False

    def __call__(self) -> int:
        """The exit code of the job's command."""
        path = Path(self.path)
        signal.signal(signal.SIGTERM, self._on_term)
        self._child = job.start(path, self.device, tied=True)
        code = job.attend(path, self._child)
        if code == job.INTERRUPTED:
            # Asked to end by SLURM, which requeues or kills this job in a moment.
            time.sleep(_LAST_WORDS_S)
        return code

    def checkpoint(self) -> Any:
        """The step in progress ends with the run's own checkpoint; the requeued job is this one again."""
        from submitit.helpers import DelayedSubmission

        time.sleep(_TOGETHER_S)
        job.end(Path(self.path), self._child, self._is_asked)
        return DelayedSubmission(Job(self.path, self.device))

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        self._is_asked = True  # and so is the training: SLURM tells all processes of a job


def _number(path: Path) -> Path:
    return path.with_name(f"{path.name}.job")
