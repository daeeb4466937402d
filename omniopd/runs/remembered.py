"""Rows of runs that were read before, kept in the user's cache folder: a run is read again where its files changed.

A thousand runs hold a gigabyte of evaluations, of which the table shows two numbers each. What is remembered is a
convenience: a file that is missing, damaged or another version's is as good as none, and a run that is going on is
always read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import omniopd
from omniopd.errors import RunError
from omniopd.runs.files.atomic import make_folder, read_file, write_text
from omniopd.runs.files.folders import EVALS, MANIFEST, STATUS, STEPS

FEWEST = 20  # runs; fewer are read faster than they are worth remembering
_FILES = (MANIFEST, STATUS, STEPS, EVALS)
Marks = list[list[int] | None]  # of each file: number, size, time of the last change


class RememberedRows:
    """The rows of the runs in one folder. `columns` are their names: a row with others is none."""

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self._folder, self._file = folder, _place(folder)
        self._rows: dict[str, tuple[Marks, dict[str, Any]]] = {}
        self._passing: set[str] = set()  # rows for this process alone
        self._changed = False
        with suppress(OSError, ValueError, LookupError, RecursionError, TypeError, AttributeError):
            held = json.loads(read_file(self._file))
            if held["version"] == omniopd.__version__:
                rows = held["rows"].items()
                self._rows = {place: (marks, row) for place, (marks, row) in rows if row.keys() == set(columns)}

    def get(self, path: Path) -> tuple[Marks, dict[str, Any] | None]:
        """What marks the files of a run now, and its row where they are as they were when it was read."""
        marks, known = marks_of(path), self._rows.get(self._key(path))
        if known is None or known[0] != marks:
            return marks, None
        return marks, known[1] | {"path": str(path)}

    def put(self, path: Path, marks: Marks, row: dict[str, Any], lasting: bool) -> None:
        """A row that stays as it is until a file changes; `marks` were taken before it was read. One that is not
        `lasting` is known to this process only."""
        place = self._key(path)
        self._rows[place] = marks, row
        (self._passing.discard if lasting else self._passing.add)(place)
        self._changed |= lasting

    def save(self) -> None:
        """Keep what has been read, where it is worth it; a full disk or a folder without rights costs nothing else."""
        kept = {place: known for place, known in self._rows.items() if place not in self._passing}
        if not self._changed or len(kept) < FEWEST:
            return
        with suppress(RunError, OSError):
            make_folder(self._file.parent)
            write_text(self._file, json.dumps({"version": omniopd.__version__, "rows": kept}))
            self._changed = False

    def _key(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def marks_of(path: Path) -> Marks:
    """What changes when a file of the run is written: number, size and time of each."""
    found: Marks = []
    for name in _FILES:
        try:
            state = os.stat(path / name)
        except OSError:
            found.append(None)
        else:
            found.append([state.st_ino, state.st_size, state.st_mtime_ns])
    return found


def _place(folder: Path) -> Path:
    import platformdirs

    mark = hashlib.sha256(str(folder.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return Path(platformdirs.user_cache_dir("omniopd", appauthor=False)) / "runs" / f"{mark}.json"
