"""The SQLite file of a teacher's answers: whose a file is, and how it is opened for writing or for reading alone.

Whose it is stands in its header (`application_id`), with older ones in their very tables; a file of anybody else is not
touched. Reading alone writes nothing, and works on a medium that cannot be written. Knows tables, and no answer.
"""

from __future__ import annotations

import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omniopd.errors import TeacherError

APPLICATION = 0x4F6D4F41
SCHEMA = 2
UNCHECKED = 1  # the schema of files that have neither checksums nor an application_id
_BUSY_S = 60.0
_TABLES = {
    SCHEMA: {
        "draws": "CREATE TABLE draws (question TEXT, number INTEGER, answer TEXT, checksum TEXT, "
        "PRIMARY KEY (question, number)) WITHOUT ROWID",
        "teachers": "CREATE TABLE teachers (teacher TEXT PRIMARY KEY, served_model TEXT, checksum TEXT) WITHOUT ROWID",
    },
    UNCHECKED: {
        "draws": "CREATE TABLE draws (question TEXT, number INTEGER, answer TEXT, PRIMARY KEY (question, number)) "
        "WITHOUT ROWID",
        "teachers": "CREATE TABLE teachers (teacher TEXT PRIMARY KEY, served_model TEXT) WITHOUT ROWID",
    },
}
Upgrade = Callable[[sqlite3.Connection], None]


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT, so that waiting for another process happens at the beginning."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:  # what fails for want of space may have been rolled back already
            db.execute("ROLLBACK")


def open_to_write(path: Path, add_checksums: Upgrade) -> sqlite3.Connection:
    """The file, created where it is missing; one of an older schema is upgraded, and `add_checksums` fills in what its
    rows lack. Raises TeacherError for any other kind of file, before anything is written; sqlite3.Error and
    OSError for what cannot be opened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_filled(path):
        # Even asking for a write-ahead log writes: whose file it is comes first.
        Reading(path).close()
    db = _connected(path, "mode=rwc")
    try:
        _with_write_ahead_log(db)
        db.execute("PRAGMA synchronous=FULL")
        with transaction(db):
            schema = _schema_of(db, path)
            if schema == UNCHECKED:
                for name in _TABLES[SCHEMA]:
                    db.execute(f"ALTER TABLE {name} RENAME TO {name}_unchecked")
            if schema != SCHEMA:
                for statement in _TABLES[SCHEMA].values():
                    db.execute(statement)
                db.execute(f"PRAGMA application_id={APPLICATION}")
                db.execute(f"PRAGMA user_version={SCHEMA}")
            if schema == UNCHECKED:
                for name in _TABLES[SCHEMA]:
                    db.execute(f"INSERT INTO {name} SELECT *, NULL FROM {name}_unchecked")
                    db.execute(f"DROP TABLE {name}_unchecked")
                add_checksums(db)
    except BaseException:
        db.close()
        raise
    return db


class Reading:
    """The file as it is, never written to; `schema` is its own. Raises as `open_to_write` does.

    `live` where this process writes it too. Otherwise nothing is left beside it, and a file that others change is
    opened again.
    """

    def __init__(self, path: Path, live: bool = False) -> None:
        self.path, self._live = path, live
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._open()

    def rows(self, query: str, values: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
        if not self._live and self._mark != _mark(self.path):
            self.close()
            self._open()
        return self._db.execute(query, values).fetchall()

    def close(self) -> None:
        self._db.close()
        if self._copy is not None:
            self._copy.cleanup()

    def _open(self) -> None:
        if not self._live and not _is_filled(self.path):
            raise TeacherError(f"{self.path} is empty and holds no answers: record a run first")
        self._mark = _mark(self.path)
        self._db = self._connection()
        try:
            self.schema = _schema_of(self._db, self.path)
        except BaseException:
            self.close()
            raise

    def _connection(self) -> sqlite3.Connection:
        log = _log_of(self.path)
        if not self._live and not _is_filled(log):
            return _connected(self.path, "immutable=1")
        # Somebody writes now, or was killed while writing: what the log holds counts.
        db = _connected(self.path, "mode=ro")
        try:
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            db.close()
            if self._live:
                raise
            # Reading a log takes a file beside it, and here none can be made.
            self._copy = tempfile.TemporaryDirectory(prefix="omniopd-answers-")
            there = Path(self._copy.name) / "answers.sqlite"
            shutil.copyfile(self.path, there)
            shutil.copyfile(log, _log_of(there))
            return _connected(there, "mode=rw")
        return db


def _connected(path: Path, how: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}", uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    # Bytes that are no text are damage, which a checksum finds; they must not keep other rows from being read.
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


def _with_write_ahead_log(db: sqlite3.Connection) -> None:
    """SQLite does not wait for others here, whatever the timeout of a connection says."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _schema_of(db: sqlite3.Connection, path: Path) -> int:
    """Which schema a file has, 0 for a database without anything. Raises TeacherError where it holds something else."""
    [(application,)], [(schema,)] = db.execute("PRAGMA application_id"), db.execute("PRAGMA user_version")
    tables = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE substr(name, 1, 7) <> 'sqlite_'"))
    ours = application == APPLICATION
    if schema > SCHEMA and (ours or set(tables) == set(_TABLES[SCHEMA])):
        raise TeacherError(f"{path} was written by a newer omniopd (schema {schema}): update to read it")
    if ours and schema == SCHEMA and _TABLES[SCHEMA].items() <= tables.items():
        return SCHEMA
    if not application and schema == UNCHECKED and tables == _TABLES[UNCHECKED]:
        return UNCHECKED
    if not application and schema == 0 and not tables:
        return 0
    if ours:
        raise TeacherError(f"{path} is damaged (its tables are not those of schema {schema}): {WAY_OUT}")
    raise TeacherError(f"{path} is a database of another program, and is left as it is: give the answers another file")


WAY_OUT = "move it away or put a copy in its place, and answers are asked for anew"


def _is_filled(path: Path) -> bool:
    """Whether the file has content. Raises TeacherError for what is not a regular file: opening a pipe would block."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        raise TeacherError(f"{path} is a folder or a device, and a teacher's answers are kept in a file: give another")
    return found.st_size > 0


def _mark(path: Path) -> tuple[int, int, bool]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, _is_filled(_log_of(path))


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
