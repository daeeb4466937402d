"""The runs in a folder as rows of a table, read again only where a file has changed. Knows no view.

A directory that looks like a run and cannot be read keeps its row, which says why.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from omniopd.errors import RunError
from omniopd.runs.listing import UNREADABLE, listed_folders, row
from omniopd.runs.status import GOING_ON
from omniopd.runs.store import EVALS, MANIFEST, STATUS, STEPS
from omniopd_widgets._parts.safe import JsonObject, shorten, to_json

ROWS = 600
_TEXTS = ("name", "method", "target", "control", "student", "teacher", "created", "message")
_NUMBERS = ("step", "steps", "loss", "best_accuracy", "gain", "teacher_tokens", "cost_usd")
_FILES = (MANIFEST, STATUS, STEPS, EVALS)


class RunList:
    """The runs in a folder, at any depth as `omniopd runs` finds them; the folder may not exist yet. `paths` finds the
    directory of a row's `id`, its place in the folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.paths: dict[str, Path] = {}
        self.hidden = 0
        self._known: dict[Path, tuple[Any, dict[str, Any]]] = {}
        if (self.folder / MANIFEST).is_file():
            raise RunError(f"{self.folder} is a run itself: give the folder that holds it, or open it alone")
        if self.folder.exists() and not self.folder.is_dir():
            raise RunError(f"{self.folder} is not a folder: give the one that holds the runs")

    def look(self) -> list[JsonObject]:
        """All runs, newest first. Raises RunError if the folder cannot be read, or has vanished with its runs."""
        if not self.paths and not self.folder.exists():
            return []
        try:
            next(self.folder.iterdir(), None)
        except OSError as error:
            raise RunError(f"{self.folder} cannot be read: {error.strerror}") from error
        found = listed_folders(self.folder)
        self._known = {path: self._known[path] for path in found if path in self._known}
        facts = {path: self._facts(path) for path in found}
        order = sorted(found, key=lambda path: (str(facts[path]["created"]), str(path)), reverse=True)
        self.hidden = max(0, len(order) - ROWS)
        places = {path: path.relative_to(self.folder).as_posix() for path in order}
        self.paths = {to_json(places[path]): path for path in order}
        return [_json_row(path, places[path], facts[path]) for path in order[:ROWS]]

    def _facts(self, path: Path) -> dict[str, Any]:
        marks = [signature(path / name) for name in _FILES]
        known = self._known.get(path)
        # A process may die without writing a word, so a run in progress is checked each time.
        if known is None or known[0] != marks or known[1]["state"] in GOING_ON:
            self._known[path] = known = (marks, row(path))
        return known[1]


def _json_row(path: Path, place: str, facts: dict[str, Any]) -> JsonObject:
    made = {"id": place, "state": facts["state"], "readable": facts["state"] != UNREADABLE}
    made |= {name: shorten(str(facts[name]), 160) if facts[name] is not None else "" for name in _TEXTS}
    made |= {name: facts[name] for name in _NUMBERS}
    # Beside its own row a run's folder says nothing.
    made["message"] = shorten(str(facts["message"]).replace(f"{path}{os.sep}", ""), 240)
    made["seed"] = facts["seed"] if isinstance(facts["seed"], int) else None
    return to_json(made)


class Signature(NamedTuple):
    """What changes when a file is rewritten."""

    number: int
    size: int
    modified_ns: int


def signature(file: Path) -> Signature | None:
    """None if the file does not exist, or no longer does."""
    try:
        state = os.stat(file)
    except OSError:
        return None
    return Signature(state.st_ino, state.st_size, state.st_mtime_ns)
