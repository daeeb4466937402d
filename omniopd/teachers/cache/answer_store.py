"""Answers on a disk: one SQLite file of JSON rows, safe with several processes at once.

A row is one text with its number among the draws of a question, under a checksum: a damaged one counts as missing, and
is replaced when it is bought again. A thread of its own writes whatever has come in since its last commit in one commit
(write-ahead log, synchronous=FULL): many answers in flight share the wait for the disk. An answer is acknowledged when
its commit has reached the disk, and the first text written under a number stays. Knows no teacher.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from omniopd.errors import TeacherError
from omniopd.teachers.cache.answer_file import UNCHECKED, WAY_OUT, Reading, open_to_write, transaction
from omniopd.types import is_writable

log = logging.getLogger(__name__)
_TYPES = {"text": str, "stopped": bool, "served": str, "handover": str, "exact": bool, "echoes": int}
_OF = "SELECT number, CAST(answer AS BLOB), CAST(checksum AS BLOB) FROM draws WHERE question = ?"
# A number keeps its first text, unless that one is damaged.
_ADD = """
INSERT INTO draws VALUES (?, ?, ?, ?) ON CONFLICT (question, number) DO UPDATE
SET answer = excluded.answer, checksum = excluded.checksum
WHERE NOT is_intact(question, number, CAST(answer AS BLOB), CAST(checksum AS BLOB))
"""
_NAME = """
INSERT INTO teachers VALUES (?, ?, ?) ON CONFLICT (teacher) DO UPDATE
SET served_model = excluded.served_model, checksum = excluded.checksum
WHERE NOT is_named(teacher, CAST(served_model AS BLOB), CAST(checksum AS BLOB))
"""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One text as it was answered; `token_ids` where the teacher told the student's tokens in it."""

    text: str
    stopped: bool
    served: str
    handover: str
    exact: bool
    echoes: int = 0
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """An answer that waits for its commit; `teacher` and `served` are what `AnswerStore.add_soon` got."""

    question: str
    draws: Mapping[int, StoredAnswer]
    teacher: str
    served: str
    done: Future[None] = field(default_factory=Future)


class AnswerStore:
    """The file at `path`, created where it is missing; with `read_only` it must exist and is never written to.

    Raises TeacherError for a file that is something else, that cannot be opened, or that is damaged as a whole.
    `damaged` holds the questions of which rows were found to be damaged.
    """

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path, self.read_only = Path(path), read_only
        self.damaged: set[str] = set()
        self._open()

    def _open(self) -> None:
        # Of a forked process's own: its parent's may be held, and what waits there the parent writes.
        self._lock, self._coming, self._waiting = threading.Lock(), threading.Lock(), list[_Entry]()
        try:
            self._writer = None if self.read_only else open_to_write(self.path, _add_checksums)
            self._reading = Reading(self.path, live=not self.read_only)
        except (sqlite3.Error, OSError) as error:
            raise TeacherError(
                f"the teacher's answers in {self.path} cannot be opened ({error}): give a new file, on a disk of this "
                "machine"
            ) from error
        if self._writer is not None:
            self._writer.create_function("is_intact", 4, _is_intact, deterministic=True)
            self._writer.create_function("is_named", 3, _is_named, deterministic=True)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="omniopd-answers")
        self._process = os.getpid()
        self._closing = weakref.finalize(self, _close, self._thread, self._reading, self._writer)

    def of(self, question: str) -> dict[int, StoredAnswer]:
        """Every draw of a question, by number. What is damaged is missing; a file that can no longer be searched is a
        TeacherError, unless it is only read: then the other questions are answered still."""
        query = _OF.replace("checksum", "NULL") if self._reading.schema == UNCHECKED else _OF
        draws: dict[int, StoredAnswer] = {}
        self._after_a_fork()
        try:
            with self._lock:
                rows = self._reading.rows(query, (question,))
        except sqlite3.DatabaseError as error:
            if not self.read_only:
                raise TeacherError(f"{self.path} is damaged ({error}): {WAY_OUT}") from error
            self._found_damage(question, str(error))
            return draws
        for number, answer, mark in rows:
            is_marked = self._reading.schema == UNCHECKED or _is_marked((question, number), answer, mark)
            draw = _stored(answer) if is_marked and isinstance(number, int) else None
            if draw is None:
                self._found_damage(question, f"draw {number!r} of a question")
            else:
                draws[number] = draw
        return draws

    def add(self, question: str, draws: Mapping[int, StoredAnswer]) -> None:
        """One answer of a provider; returns when it is on the disk. A number that is there keeps its text."""
        self.add_soon(question, draws).result()

    def add_soon(
        self, question: str, draws: Mapping[int, StoredAnswer], teacher: str = "", served: str = ""
    ) -> Future[None]:
        """`add` without waiting: the future is done when the commit has reached the disk.

        With a `teacher`, the model that `served` it must be the first that ever did in this file, or nothing is kept.
        The future raises TeacherError for another model, and where nothing can be written. A text with half of
        a surrogate pair cannot be stored: such draws are left out.
        """
        self._after_a_fork()
        kept = {number: draw for number, draw in draws.items() if is_writable(draw.text)}
        entry = _Entry(question, kept, teacher, served.encode(errors="replace").decode())
        with self._coming:
            self._waiting.append(entry)
            first = len(self._waiting) == 1
        if first:
            self._thread.submit(self._commit)
        return entry.done

    def __len__(self) -> int:
        """How many rows there are, damaged ones as well."""
        self._after_a_fork()
        try:
            with self._lock:
                [(count,)] = self._reading.rows("SELECT count(*) FROM draws")
        except sqlite3.DatabaseError as error:
            raise TeacherError(f"{self.path} is damaged ({error}): {WAY_OUT}") from error
        return int(count)

    def __bool__(self) -> bool:
        return True

    def close(self) -> None:
        """Writes what is waiting, then closes the file."""
        self._thread.shutdown()
        with self._lock:
            self._closing()

    def _after_a_fork(self) -> None:
        """A forked process has no threads of its parent, and must not share a connection with it."""
        if os.getpid() != self._process:
            self._open()

    def _commit(self) -> None:
        with self._coming:
            entries, self._waiting = self._waiting, []
        wrong: dict[int, str] = {}
        failure: TeacherError | None = None
        try:
            db = self._writer
            assert db is not None, "a file that is only read gets no answers"
            with transaction(db):
                for entry in entries:
                    if entry.teacher and (first := _first_served(db, entry.teacher, entry.served)) != entry.served:
                        wrong[id(entry)] = (
                            f"{self.path} holds answers of {first!r}, and {entry.served!r} answers now: the run stops, "
                            "since its audits would mix two teachers; give the new one a file of its own "
                            "(teacher.cache)"
                        )
                    elif not _add(db, entry):
                        wrong[id(entry)] = f"{self.path} is damaged (what is written is not found again): {WAY_OUT}"
        except Exception as error:
            is_damage = isinstance(error, sqlite3.DatabaseError) and "malformed" in str(error)
            way_out = WAY_OUT if is_damage else "free some space, then resume; nothing that was written before is lost"
            failure = TeacherError(f"an answer could not be written into {self.path} ({error}): {way_out}")
        for entry in entries:
            if failure is not None:
                entry.done.set_exception(failure)
            elif id(entry) in wrong:
                entry.done.set_exception(TeacherError(wrong[id(entry)]))
            else:
                entry.done.set_result(None)

    def _found_damage(self, question: str, what: str) -> None:
        if not self.damaged:
            log.warning("%s is damaged (%s): what is damaged there counts as missing", self.path, what)
        self.damaged.add(question)


def _add(db: sqlite3.Connection, entry: _Entry) -> bool:
    """Whether the draws can be found now: where keys are damaged, rows no longer stand where they are looked for."""
    db.executemany(_ADD, _rows(entry))
    there = db.execute(_OF, (entry.question,)).fetchall()
    return entry.draws.keys() == {n for n, *row in there if n in entry.draws and _is_intact(entry.question, n, *row)}


def _rows(entry: _Entry) -> Iterable[tuple[str, int, str, str]]:
    for number, draw in entry.draws.items():
        said = {name: value for name, value in asdict(draw).items() if name != "token_ids" or value}
        answer = json.dumps(said)
        yield entry.question, number, answer, _checksum(entry.question, number, answer)


def _first_served(db: sqlite3.Connection, teacher: str, served: str) -> str:
    """The model that answered first for a teacher: `served`, if none has before."""
    db.execute(_NAME, (teacher, served, _checksum(teacher, served)))
    [(name,)] = db.execute("SELECT served_model FROM teachers WHERE teacher = ?", (teacher,))
    return str(name)


def _stored(answer: object) -> StoredAnswer | None:
    """The draw that a row holds, None where it does not have the shape of a draw."""
    try:
        said = json.loads(answer) if isinstance(answer, bytes) and answer.startswith(b"{") else None
    except (ValueError, RecursionError):
        return None
    ids = said.pop("token_ids", []) if isinstance(said, dict) else []
    if not isinstance(ids, list) or any(type(token) is not int for token in ids):
        return None
    if not isinstance(said, dict) or any(type(value) is not _TYPES.get(name) for name, value in said.items()):
        return None
    if said.keys() | {"echoes"} != _TYPES.keys() or not is_writable(said["text"]):
        return None
    return StoredAnswer(**said, token_ids=tuple(ids))


def _checksum(*parts: object) -> str:
    written = json.dumps(parts).encode()
    return hashlib.blake2b(written, digest_size=8).hexdigest()


def _is_marked(key: tuple[object, ...], value: object, mark: object) -> bool:
    """Whether a row's value is what was written under its key."""
    if not isinstance(value, bytes) or not isinstance(mark, bytes):
        return False
    return mark.decode(errors="replace") == _checksum(*key, value.decode(errors="replace"))


def _is_intact(question: str, number: object, answer: object, mark: object) -> bool:
    return _is_marked((question, number), answer, mark) and _stored(answer) is not None


def _is_named(teacher: str, served: object, mark: object) -> bool:
    return _is_marked((teacher,), served, mark)


def _add_checksums(db: sqlite3.Connection) -> None:
    """To rows that have none; one of another shape is left without, which is damage."""
    db.create_function("checksum_of", -1, _checksum, deterministic=True)
    db.create_function("is_a_draw", 1, lambda answer: _stored(answer) is not None, deterministic=True)
    db.execute(
        "UPDATE draws SET checksum = checksum_of(question, number, answer) WHERE is_a_draw(CAST(answer AS BLOB))"
    )
    db.execute("UPDATE teachers SET checksum = checksum_of(teacher, served_model)")


def _close(thread: ThreadPoolExecutor, reading: Reading, writer: sqlite3.Connection | None) -> None:
    thread.shutdown(wait=False)
    reading.close()
    if writer is not None:
        writer.close()
