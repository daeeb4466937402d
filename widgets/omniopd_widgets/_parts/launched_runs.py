"""The launched runs in a folder as rows for a page: where each stands, how long it has left. Reads only what is new."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from omniopd.errors import OmniOPDError
from omniopd.io.units import duration
from omniopd.launch import Launched, launched_in
from omniopd.runs.following import Follower
from omniopd.runs.status import GOING_ON
from omniopd.runs.totals import step_seconds
from omniopd_widgets._parts.safe import JsonObject, to_json

SHOWN = 12  # runs that are over; those that go on are all shown
_RECENT = 10  # steps whose mean says how long one takes


class LaunchedRuns:
    """The launched runs of one folder, polled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._watched: dict[Path, _Watched] = {}

    def look(self) -> list[JsonObject]:
        """The rows: runs in progress first, then the newest."""
        found = launched_in(self._folder) if self._folder.is_dir() else []
        rows, over = [], 0
        for launched in found:
            watched = self._watched.setdefault(launched.path, _Watched(launched))
            if watched.row is not None and not watched.row["going_on"] and watched.settled():
                row = watched.row
            else:
                row = watched.look()
            over += not row["going_on"]
            if row["going_on"] or over <= SHOWN:
                rows.append(row)
        self._watched = {launched.path: self._watched[launched.path] for launched in found}
        return sorted(rows, key=lambda row: not row["going_on"])


@dataclass(slots=True)
class _Watched:
    launched: Launched
    follower: Follower | None = None
    row: JsonObject | None = None
    stamp: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def settled(self) -> bool:
        """Whether nothing has changed since a finished run was last read."""
        return self._stamp() == self.stamp

    def look(self) -> JsonObject:
        self.stamp = self._stamp()
        try:
            self.row = self._read()
        except OmniOPDError as error:
            self.row = _row(self.launched.path, state="unreadable", message=str(error))
        return self.row

    def _read(self) -> JsonObject:
        launched = self.launched
        status, process, state, alive = launched.status, launched.process, launched.state, launched.is_running()
        if self.follower is None and launched.run is not None:
            self.follower = Follower(launched.run)
        loss = accuracy = math.nan
        if self.follower is not None:
            update = self.follower.look()
            if update.restarted:
                self.seconds = []
            for step in update.steps:
                self.seconds = [*self.seconds, step_seconds(step)][-_RECENT:]
            loss = self.follower.steps[-1].loss if self.follower.steps else math.nan
            own = [record for record in self.follower.evals if record.model == "student" and record.problems]
            accuracy = max((r.accuracy for r in own if r.step == own[-1].step), default=math.nan) if own else math.nan
        left = max(status.steps - status.step, 0) * sum(self.seconds) / len(self.seconds) if self.seconds else math.nan
        message = status.message
        if alive and state == "running" and not status.steps:
            message = f"cell {process.cell} of {process.cells}" if process.cell else "starting"
        elif alive and state == "finished":
            message = f"the training has finished; cell {process.cell} of {process.cells}"
        going_on = alive or state in GOING_ON
        return _row(
            launched.path, state=state, message=message, step=status.step, steps=status.steps, loss=loss,
            accuracy=accuracy, left=f"{duration(left)} left" if state == "running" and math.isfinite(left) else "",
            going_on=going_on, resumable=not going_on and state != "finished",
            wanted=launched.wanted if going_on else "", notebook=launched.launch.notebook,
        )  # fmt: skip

    def _stamp(self) -> float:
        """When the run's folder last changed: every status is a new file in it."""
        try:
            return max((self.launched.path / part).stat().st_mtime for part in (".", "launch"))
        except OSError:
            return -1.0


def _row(path: Path, **facts: object) -> JsonObject:
    empty = {
        "state": "", "message": "", "step": 0, "steps": 0, "loss": None, "accuracy": None, "left": "",
        "going_on": False, "resumable": False, "wanted": "", "notebook": "",
    }  # fmt: skip
    return to_json({"path": str(path), "name": path.name, **empty, **facts})
