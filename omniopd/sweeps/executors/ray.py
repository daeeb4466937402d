"""Jobs as tasks in a Ray cluster: each has its CPUs and GPUs, and is started again where its node dies.

A task holds a job as a child, which ends with it. Where the sweep ends, Ray ends its tasks, and the same command
resumes their runs from the newest checkpoints. Keys of teachers stand in the environment of every node: what a driver
hands to Ray is stored where anybody in the cluster can read it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import omniopd
from omniopd.errors import ConfigError, RunError
from omniopd.sweeps import job
from omniopd.sweeps.needs import library, require_locks
from omniopd.sweeps.plan import SWEEP_LOCK, Ended, near

_OPTIONS = ("num_cpus", "num_gpus", "memory", "resources", "max_retries", "scheduling_strategy", "accelerator_type")
_RETRIES = 10  # nodes that a run may lose
_CONNECT_S = 5.0
_PROBE_S = 120.0  # a node's first worker imports Ray


class RayExecutor:
    """`options` are a Ray task's: num_cpus, num_gpus, memory (bytes), resources, max_retries. `address`: HOST:PORT;
    "auto" for the cluster that this machine is part of; None for that one, or else a Ray of its own on this machine.
    Raises ConfigError for an option that there is not."""

    pause_s, outlives = 0.5, ""

    def __init__(
        self, address: str | None, options: Mapping[str, Any], device: str | None = None,
        work: Callable[[str, str | None, str], int] | None = None,
    ) -> None:  # fmt: skip
        self.ray, self.address, self.device = library("ray", "--executor ray"), address, device
        for key in options:
            if key not in _OPTIONS:
                raise ConfigError(f"{key} is not an option of a Ray task here; {near(key, _OPTIONS)}")
        self.options = {"max_retries": _RETRIES, **options}
        self._work = work or _job
        self._paths: dict[Any, Path] = {}  # by their tasks

    @property
    def at_hand(self) -> list[Path]:
        return list(self._paths.values())

    def check(self, folder: Path) -> None:
        require_locks(folder)
        self._connect()
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        if self.device != "cpu" and any(node["Resources"].get("GPU", 0) for node in nodes):
            self.options.setdefault("num_gpus", 1)
        if not self.options.get("num_gpus", 0):
            self.device = "cpu"  # a task that has no GPU of its own sees those of others
        self._require_room(nodes)
        self._require_usable(nodes, folder)

    def submit(self, paths: Sequence[Path]) -> str:
        task = self.ray.remote(self._work)
        for path in paths:
            asked = task.options(name=path.as_posix(), **self.options)
            self._paths[asked.remote(str(path.resolve()), self.device, os.getcwd())] = path
        words = ", ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{len(paths)} tasks are in the Ray cluster {self._there} ({words} each)"

    def ended(self) -> Iterator[Ended]:
        if not self._paths:
            return
        done, _ = self.ray.wait(list(self._paths), num_returns=len(self._paths), timeout=0, fetch_local=False)
        for ref in done:
            path = self._paths.pop(ref)
            try:
                yield Ended(path, self.ray.get(ref))
            except self.ray.exceptions.RayError as error:
                yield Ended(path, 1, _sentence(error))

    def stop(self, attempt: int) -> None:
        for ref in self._paths:
            with contextlib.suppress(self.ray.exceptions.RayError):
                self.ray.cancel(ref, force=attempt > 0)

    def _connect(self) -> None:
        if self.ray.is_initialized():
            return
        host, _, port = (self.address or "").rpartition(":")
        try:
            if host and port.isdecimal():
                # Ray itself would try for minutes.
                socket.create_connection((host.removeprefix("ray://"), int(port)), _CONNECT_S).close()
            self.ray.init(self.address, log_to_driver=False, logging_level="ERROR", include_dashboard=None)
        except Exception as error:  # Ray's own are of many kinds
            raise ConfigError(
                f"no Ray cluster answers {self._there} ({_sentence(error)}): start one, `ray start --head`, or name "
                "another, --address HOST:PORT"
            ) from error

    @property
    def _there(self) -> str:
        return f"at {self.address}" if self.address else "on this machine"

    def _require_room(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Ray would wait for ever for what no node has."""
        wanted = {"CPU": self.options.get("num_cpus", 1), "GPU": self.options.get("num_gpus", 0)}
        if not any(all(node["Resources"].get(what, 0) >= count for what, count in wanted.items()) for node in nodes):
            most = {what: max((node["Resources"].get(what, 0) for node in nodes), default=0) for what in wanted}
            raise ConfigError(
                f"no node of the cluster has {wanted['CPU']} CPUs and {wanted['GPU']} GPUs for a run; the most are "
                f"{most['CPU']:g} and {most['GPU']:g}: ask for less, --ray num_cpus=1 num_gpus=0"
            )

    def _require_usable(self, nodes: Sequence[Mapping[str, Any]], folder: Path) -> None:
        on = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        probe = self.ray.remote(num_cpus=0, max_retries=0)(_probe())
        lock = str((folder / SWEEP_LOCK).resolve())
        asked = [
            probe.options(scheduling_strategy=on(node["NodeID"], soft=False)).remote(lock, omniopd.__version__)
            for node in nodes
        ]
        for node, ref in zip(nodes, asked, strict=True):
            try:
                problem = self.ray.get(ref, timeout=_PROBE_S)
            except self.ray.exceptions.RayError as error:
                problem = f"does not answer ({_sentence(error)}): look at it with `ray status`"
            if problem:
                raise RunError(f"node {node['NodeManagerAddress']} of the cluster {problem}")


def _probe() -> Callable[[str, str], str]:
    def probe(lock: str, version: str) -> str:
        """What keeps a node from working on a study. Made inside a function, so that Ray sends it whole: a node that
        lacks the package can say so."""
        import importlib.util
        import os

        if importlib.util.find_spec("omniopd") is None:
            return f"lacks the package: pip install omniopd=={version} there"
        import omniopd
        from omniopd.io.locks import is_locked

        folder = os.path.dirname(lock)
        if omniopd.__version__ != version:
            return f"has omniopd {omniopd.__version__}, and the sweep {version}: install one version everywhere"
        if not os.path.isfile(lock):
            return f"does not see {folder}: give a folder that all nodes share, --runs"
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
            return f"may not write {folder}: give a folder that all nodes may write, --runs"
        if not is_locked(__import__("pathlib").Path(lock)):
            return f"does not see the locks of {folder}: mount it with locks that count on all nodes"
        return ""

    return probe


def _job(path: str, device: str | None, cwd: str) -> int:
    """A task: the job's exit code."""
    with contextlib.suppress(OSError):  # a driver's folder that no node has: paths in a recipe are absolute then
        os.chdir(cwd)
    return job.attend(Path(path), job.start(Path(path), device, tied=True))


def _sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
