"""Answers on a disk: one SQLite file of JSON rows, one commit per answer, safe with several processes at once.

A row is one text with its number among the draws of a question. A commit has reached the disk when `add` returns
(write-ahead log, synchronous=FULL), and the first text written under a number stays. Knows no teacher.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omniopd.errors import TeacherError

SCHEMA = 1
_BUSY_S = 60.0
_TABLES = """
CREATE TABLE draws (question TEXT, number INTEGER, answer TEXT, PRIMARY KEY (question, number)) WITHOUT ROWID;
CREATE TABLE teachers (teacher TEXT PRIMARY KEY, served_model TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """One text as it was answered."""

    text: str
    stopped: bool
    served: str
    handover: str
    exact: bool
    echoes: int = 0


class Answers:
    """The file at `path`, made where there is none. Raises TeacherError for a file that is something else."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._closing = weakref.finalize(self, self._db.close)
            self._open()
        except (sqlite3.Error, OSError) as error:
            raise TeacherError(
                f"the teacher's answers in {self.path} cannot be opened ({error}): give a new file, on a disk of this "
                "machine"
            ) from error

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        with self._transaction():
            [(schema,)] = self._db.execute("PRAGMA user_version")
            if schema == 0:
                for statement in _TABLES.strip().splitlines():
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={SCHEMA}")
        if schema > SCHEMA:
            raise TeacherError(f"{self.path} was written by a newer omniopd (schema {schema}): update to read it")

    def of(self, question: str) -> dict[int, Stored]:
        """Every draw of a question, by number."""
        with self._lock:
            rows = self._db.execute("SELECT number, answer FROM draws WHERE question = ?", (question,)).fetchall()
        return {number: Stored(**json.loads(answer)) for number, answer in rows}

    def add(self, question: str, draws: Mapping[int, Stored]) -> None:
        """One answer of a provider, in one commit. A number that is there already keeps its text."""
        rows = [(question, number, _json(draw)) for number, draw in draws.items()]
        self._carefully(lambda: self._db.executemany("INSERT OR IGNORE INTO draws VALUES (?, ?, ?)", rows))

    def served_model(self, teacher: str, answered: str) -> str:
        """The model that answered first for a teacher: `answered`, if none has before."""

        def first() -> str:
            self._db.execute("INSERT OR IGNORE INTO teachers VALUES (?, ?)", (teacher, answered))
            [(name,)] = self._db.execute("SELECT served_model FROM teachers WHERE teacher = ?", (teacher,))
            return str(name)

        return str(self._carefully(first))

    def __len__(self) -> int:
        with self._lock:
            [(count,)] = self._db.execute("SELECT count(*) FROM draws")
        return int(count)

    def close(self) -> None:
        with self._lock:
            self._closing()

    def _carefully(self, write: Any) -> Any:
        try:
            with self._lock, self._transaction():
                return write()
        except sqlite3.Error as error:
            raise TeacherError(
                f"an answer could not be written into {self.path} ({error}): free some space, then resume; nothing "
                "that was written before is lost"
            ) from error

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, so that waiting for another process happens at the beginning."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *rest: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")


def _json(draw: Stored) -> str:
    return json.dumps(asdict(draw))
