"""Jobs as processes of this machine, one at a time on each device. They outlive a sweep that is killed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from omniopd.errors import ConfigError
from omniopd.launch.launched import kill_tree
from omniopd.runs.status import start_of
from omniopd.sweeps import job
from omniopd.sweeps.plan import Ended


class LocalExecutor:
    """One job at a time for each entry of `devices` (as `launch/devices.py` names them; twice: two at a time)."""

    pause_s, outlives = 0.2, ""

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = list(devices)
        self._waiting: list[Path] = []
        self._running: dict[int, tuple[Path, subprocess.Popen[bytes]]] = {}  # by the index of their device
        if not self.devices:
            raise ConfigError('no device is named to compute on: give one, such as "auto" or "cpu"')

    @property
    def at_hand(self) -> list[Path]:
        return [*self._waiting, *(path for path, _ in self._running.values())]

    def check(self, folder: Path) -> None:
        pass

    def submit(self, paths: Sequence[Path]) -> str:
        self._waiting += paths
        self._fill()
        return ""

    def ended(self) -> Iterator[Ended]:
        for slot, (path, child) in list(self._running.items()):
            if child.poll() is not None:
                del self._running[slot]
                yield Ended(path, child.returncode)
        self._fill()

    def stop(self, attempt: int) -> None:
        self._waiting.clear()
        for _, child in self._running.values():
            if child.poll() is None and attempt < 2:
                child.send_signal(signal.SIGTERM)
            elif child.poll() is None:
                kill_tree(child.pid, start_of(child.pid))

    def _fill(self) -> None:
        for slot, device in enumerate(self.devices):
            if self._waiting and slot not in self._running:
                path = self._waiting.pop(0)
                self._running[slot] = path, job.start(path, device)
