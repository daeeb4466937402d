"""The runs in a folder as rows of a table, read again only where a file has changed. Knows no view.

A directory that looks like a run and cannot be read keeps its row, which says why.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from omniopd.errors import RunError
from omniopd.runs.listing import COLUMNS, SAID, UNREADABLE, known_row, listed_folders, row, said_of
from omniopd.runs.mirror import follow, here
from omniopd.runs.notes import FILE as NOTES
from omniopd.runs.remembered import Marks, RememberedRows
from omniopd.runs.status import GOING_ON
from omniopd.runs.store import MANIFEST
from omniopd_widgets._parts.safe import JsonObject, shorten, to_json

ROWS = 2000
AT_LEAST = 8  # runs whose results are read at each look, however long that takes
_TEXTS = ("name", "arm", "method", "target", "control", "student", "teacher", "created", "message", "settings")
_NUMBERS = (
    "step", "steps", "loss", "accuracy_before", "best_accuracy", "greedy", "gain", "samples", "teacher_tokens",
    "cost_usd", "seconds",
)  # fmt: skip


class RunList:
    """The runs in a folder, at any depth as `omniopd runs` finds them; the folder may not exist yet. `paths` finds the
    directory of a row's `id`, its place in the folder; `unread` counts runs whose results are still to be read."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = here(folder)
        self.paths: dict[str, Path] = {}
        self.hidden = self.unread = 0
        self.trouble = ""  # why what is shown is older than it should be
        self._remembered = RememberedRows(self.folder, COLUMNS)
        self._first: dict[Path, tuple[Marks, dict[str, Any]]] = {}  # rows without results, until these are read
        self._said: dict[Path, tuple[Signature | None, dict[str, str]]] = {}
        self._json: dict[Path, tuple[dict[str, Any], JsonObject]] = {}
        if (self.folder / MANIFEST).is_file():
            raise RunError(f"{self.folder} is a run itself: give the folder that holds it, or open it alone")
        if self.folder.exists() and not self.folder.is_dir():
            raise RunError(f"{self.folder} is not a folder: give the one that holds the runs")

    def look(self, seconds: float = math.inf) -> list[JsonObject]:
        """All runs, newest first. Results that are not known yet are read for about so long, those of the newest first
        (of `AT_LEAST` in any case); the others follow at the next look. Raises RunError if the folder cannot be read,
        or has vanished with its runs."""
        try:
            follow(self.folder)
            self.trouble = ""
        except RunError as error:  # the network may be back at the next look
            self.trouble = str(error)
        if not self.paths and not self.folder.exists():
            return []
        try:
            next(self.folder.iterdir(), None)
        except OSError as error:
            raise RunError(f"{self.folder} cannot be read: {error.strerror}") from error
        until = time.monotonic() + seconds
        found = listed_folders(self.folder)
        facts = {path: self._at_first(path) for path in found}
        order = sorted(found, key=lambda path: (str(facts[path]["created"]), str(path)), reverse=True)
        self.unread = count = 0
        for path in order:
            if path in self._first and count >= AT_LEAST and (self.unread or time.monotonic() > until):
                self.unread += 1
            elif path in self._first or facts[path]["state"] in GOING_ON:
                facts[path] = known_row(self._remembered, path)
                self._first.pop(path, None)
                count += 1
        if not self.unread:
            self._remembered.save()
        self.hidden = max(0, len(order) - ROWS)
        places = {path: path.relative_to(self.folder).as_posix() for path in order}
        self.paths = {to_json(places[path]): path for path in order}
        self._json = {path: self._shown(path, places[path], facts[path] | self._said_of(path)) for path in order[:ROWS]}
        return [shown for _, shown in self._json.values()]

    def _said_of(self, path: Path) -> dict[str, str]:
        """Tags and note, read again where their file has changed."""
        mark = signature(path / NOTES)
        if path not in self._said or self._said[path][0] != mark:
            self._said[path] = mark, said_of(path) if mark is not None else dict.fromkeys(SAID, "")
        return self._said[path][1]

    def _at_first(self, path: Path) -> dict[str, Any]:
        """The row as it is remembered, else without its results."""
        marks, row_known = self._remembered.get(path)
        if row_known is not None:
            self._first.pop(path, None)
            return row_known
        if path not in self._first or self._first[path][0] != marks:
            self._first[path] = marks, row(path, results=False)
        return self._first[path][1]

    def _shown(self, path: Path, place: str, facts: dict[str, Any]) -> tuple[dict[str, Any], JsonObject]:
        known = self._json.get(path)
        return known if known is not None and known[0] == facts else (facts, _json_row(path, place, facts))


def _json_row(path: Path, place: str, facts: dict[str, Any]) -> JsonObject:
    made = {"id": place, "state": facts["state"], "readable": facts["state"] != UNREADABLE}
    made |= {name: shorten(str(facts[name]), 160) if facts[name] is not None else "" for name in _TEXTS}
    made |= {name: facts[name] for name in _NUMBERS}
    made |= {name: shorten(facts[name], 2000) for name in SAID}
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
