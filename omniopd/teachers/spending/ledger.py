"""What a teacher has cost: one line before a call is sent and one after it, summed by model.

With a file, a later process goes on with the same sums: a call that was sent and never entered again (the program was
killed) counts as spent. One process at a time spends on a file; within it all ledgers of a file are one. Sums are whole
billionths of a dollar, so that nothing is lost by rounding. Knows no teacher.
"""

from __future__ import annotations

import math
import os
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from weakref import WeakValueDictionary, finalize

from omniopd.errors import TeacherError
from omniopd.io.locks import holder, lock
from omniopd.teachers.spending.ledger_lines import COUNTS, entries, line
from omniopd.types import Usage

FILE = "teacher_ledger.jsonl"  # in a run's folder
_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Spend:
    """What one model has cost. `cached_tokens` are the part of `input_tokens` that the provider had read before;
    `remembered` texts came from the answer cache and cost nothing. `unsure_usd` is the part of `usd` that was sent and
    never answered, which the provider may not bill, or answered without a count that can be: the most that it may be.
    """

    model: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    usd: float = 0.0
    unsure_usd: float = 0.0
    remembered: int = 0


class Ledger:
    """Reservations and expenses. Raises TeacherError for a file that cannot be read or written, that is damaged, or on
    which another process spends."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._book = _Book(None) if self.path is None else _book_of(self.path)

    @property
    def spent_usd(self) -> float:
        return self._book.sums.spent / _BILLION

    @property
    def reserved_usd(self) -> float:
        """What calls in flight may cost."""
        return self._book.reserved / _BILLION

    def by_model(self) -> tuple[Spend, ...]:
        with self._book.guard:
            return self._book.sums.by_model()

    def reserve(self, model: str, most_usd: float, limit_usd: float) -> str | None:
        """The number of a reservation, or None where it would pass the limit together with all others."""
        book, most = self._book, _round_up(most_usd)
        with book.guard:
            if math.isfinite(limit_usd) and book.sums.spent + book.reserved + most > round(limit_usd * _BILLION):
                return None
            book.count += 1
            number = f"{book.process}-{book.count}"
            book.write({"reserved": number, "model": model, "usd": most / _BILLION})
            book.open[number] = model, most
            book.reserved += most
            return number

    def settle(self, number: str, usage: Usage, unsure: bool = False) -> None:
        """A call is over. Where it is not known whether it is billed, all that was reserved is spent."""
        book = self._book
        with book.guard:
            model, most = book.open.pop(number)
            book.reserved -= most
            unsure = unsure or not 0 <= usage.cost_usd < math.inf
            usd = most / _BILLION if unsure else usage.cost_usd
            entry = {"settled": number, "model": model, "usd": usd, "unsure": unsure, **_counts(usage)}
            book.sums.enter(entry)
            book.write(entry)

    def enter(self, model: str, usage: Usage) -> None:
        """An expense without a reservation: a teacher that runs here, or one that reports its cost afterwards."""
        self._enter({"model": model, "usd": usage.cost_usd, **_counts(usage)})

    def remember(self, model: str, texts: int) -> None:
        """Texts that came from a cache."""
        self._enter({"model": model, "remembered": texts})

    def _enter(self, entry: Mapping[str, Any]) -> None:
        with self._book.guard:
            self._book.sums.enter(entry)
            self._book.write(entry)


def spent(path: str | Path) -> tuple[Spend, ...]:
    """What a ledger's file holds by now, by model; calls in flight count as spent. Writes nothing, asks for no lock.

    Raises TeacherError for a damaged one.
    """
    sums, lost = _read(Path(path))
    for entry in lost:
        sums.enter(entry)
    return sums.by_model()


class _Sums:
    def __init__(self) -> None:
        self.spent = 0
        self._spend: dict[str, Spend] = {}

    def by_model(self) -> tuple[Spend, ...]:
        return tuple(self._spend[model] for model in sorted(self._spend))

    def enter(self, entry: Mapping[str, Any]) -> None:
        model, usd = str(entry["model"]), float(entry.get("usd", 0.0))
        spend = self._spend.get(model, Spend(model))
        counts = {name: getattr(spend, name) + int(entry.get(name, 0)) for name in COUNTS}
        self.spent += _round_up(usd)
        self._spend[model] = replace(
            spend, usd=spend.usd + usd, unsure_usd=spend.unsure_usd + (usd if entry.get("unsure") else 0.0), **counts
        )


class _Book:
    """What all ledgers of one file in this process share: sums, calls in flight, the open file and the lock on it."""

    def __init__(self, path: Path | None, before: _Book | None = None) -> None:
        self.path, self.guard = path, threading.RLock()
        self.sums, self.reserved = _Sums(), 0
        self.open: dict[str, tuple[str, int]] = {}
        self.process, self.count, self.pid = secrets.token_hex(4), 0, os.getpid()
        self._file: IO[bytes] | None = None
        self._held: IO[bytes] | None = None
        if path is not None:
            # Of a file that was thrown away meanwhile, the lock is this process's already.
            held = _locked(path) if before is None or before._held is None else _shared(before._held)
            self._held = _open_as_long_as(self, held)
            self.sums, lost = _read(path)
            for entry in lost:
                self.sums.enter(entry)
                self.write(entry)

    def is_there(self) -> bool:
        """Whether the file that is written to still stands in its place."""
        if self.path is None or self._file is None:
            return True
        return self.path.exists() and os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))

    def write(self, entry: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        if self.pid != os.getpid():
            raise TeacherError(
                f"the ledger {self.path} belongs to process {self.pid}, which this one is a copy of: give each process "
                "a ledger of its own"
            )
        try:
            if self._file is None:
                self._file = _open_as_long_as(self, open(self.path, "ab", buffering=0))  # noqa: SIM115
            # A line of its own even behind one that a kill has torn.
            self._file.write(f"\n{line(entry)}".encode())
        except OSError as error:
            raise TeacherError(
                f"the ledger {self.path} could not be written ({error.strerror}): free some space, then resume"
            ) from error


def _open_as_long_as(book: _Book, file: IO[bytes]) -> IO[bytes]:
    """The file, closed with the book: by a finalizer, which a cycle of garbage runs before either is taken apart."""
    finalize(book, file.close)
    return file


_BOOKS: WeakValueDictionary[Path, _Book] = WeakValueDictionary()
_BOOKS_GUARD = threading.Lock()


def _book_of(path: Path) -> _Book:
    place = path.absolute().resolve()
    with _BOOKS_GUARD:
        book = _BOOKS.get(place)
        if book is not None and book.pid != os.getpid():
            book = None
        if book is None or not book.is_there():
            book = _BOOKS[place] = _Book(path, book)
        return book


def _shared(held: IO[bytes]) -> IO[bytes]:
    return os.fdopen(os.dup(held.fileno()), "rb")


def _locked(path: Path) -> IO[bytes]:
    """The lock on a ledger's file, for as long as it is open."""
    beside = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock(beside)
    except OSError as error:
        raise TeacherError(f"the ledger {path} cannot be written ({error.strerror}): check its folder") from error
    if held is None:
        who = holder(beside)
        raise TeacherError(
            f"another process{'' if who is None else f' ({who})'} is spending on the ledger {path}: wait until it has "
            "ended, or give this one a ledger of its own (a run's is in its folder)"
        )
    return held


def _read(path: Path) -> tuple[_Sums, list[Mapping[str, Any]]]:
    """The sums of a file, and entries for calls that were sent and never settled."""
    sums, unsettled = _Sums(), dict[str, Mapping[str, Any]]()
    for entry in entries(path):
        if "reserved" in entry:
            unsettled[entry["reserved"]] = entry
        else:
            unsettled.pop(entry.get("settled", ""), None)
            sums.enter(entry)
    return sums, [
        {"settled": number, "model": entry["model"], "usd": entry["usd"], "unsure": True, "calls": 1}
        for number, entry in unsettled.items()
    ]


def _counts(usage: Usage) -> dict[str, int]:
    return {"calls": usage.calls, "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
            "cached_tokens": usage.cached_tokens}  # fmt: skip


def _round_up(usd: float) -> int:
    return math.ceil(round(usd * _BILLION, 3))
