"""What a teacher has cost: one line before a call is sent and one after it, summed by model.

With a file, a later process goes on with the same sums: a call that was sent and never entered again (the program was
killed) counts as spent. Sums are whole billionths of a dollar, so that nothing is lost by rounding. Knows no teacher.
"""

from __future__ import annotations

import json
import math
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omniopd.errors import TeacherError
from omniopd.types import Usage

FILE = "teacher_ledger.jsonl"  # in a run's folder
_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Spend:
    """What one model has cost. `cached_tokens` are the part of `input_tokens` that the provider had read before;
    `remembered` texts came from a cache of ours and cost nothing. `unsure_usd` is the part of `usd` that was sent and
    never answered, which the provider may not bill, or answered without a count: the most that it may be."""

    model: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    usd: float = 0.0
    unsure_usd: float = 0.0
    remembered: int = 0


class Ledger:
    """Reservations and expenses. Raises TeacherError for a file that cannot be read or written."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._lock = threading.RLock()
        self._open: dict[str, tuple[str, int]] = {}
        self._spend: dict[str, Spend] = {}
        self._spent = self._reserved = 0
        self._process, self._next = secrets.token_hex(4), 0
        if self.path is not None:
            self._read(self.path)

    @property
    def spent_usd(self) -> float:
        return self._spent / _BILLION

    @property
    def reserved_usd(self) -> float:
        """What calls in flight may cost."""
        return self._reserved / _BILLION

    def by_model(self) -> tuple[Spend, ...]:
        with self._lock:
            return tuple(self._spend[model] for model in sorted(self._spend))

    def reserve(self, model: str, most_usd: float, limit_usd: float) -> str | None:
        """The number of a reservation, or None where it would pass the limit together with all others."""
        most = _round_up(most_usd)
        with self._lock:
            if math.isfinite(limit_usd) and self._spent + self._reserved + most > round(limit_usd * _BILLION):
                return None
            self._next += 1
            number = f"{self._process}-{self._next}"
            self._write({"reserved": number, "model": model, "usd": most / _BILLION})
            self._open[number] = model, most
            self._reserved += most
            return number

    def settle(self, number: str, usage: Usage, unsure: bool = False) -> None:
        """A call is over. Where nobody knows whether it is billed, all that was reserved is spent."""
        with self._lock:
            model, most = self._open.pop(number)
            self._reserved -= most
            usd = most / _BILLION if unsure else usage.cost_usd
            entry = {
                "settled": number, "model": model, "usd": usd, "unsure": unsure, "calls": usage.calls,
                "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
                "cached_tokens": usage.cached_tokens,
            }  # fmt: skip
            self._enter(entry)
            self._write(entry)

    def enter(self, model: str, usage: Usage) -> None:
        """An expense without a reservation: a teacher that runs here."""
        with self._lock:
            number = self.reserve(model, 0.0, math.inf)
            if number is not None:
                self.settle(number, usage)

    def remember(self, model: str, texts: int) -> None:
        """Texts that came from a cache."""
        with self._lock:
            entry = {"model": model, "remembered": texts}
            self._enter(entry)
            self._write(entry)

    def _enter(self, entry: Mapping[str, Any]) -> None:
        model = str(entry["model"])
        spend = self._spend.get(model, Spend(model))
        usd = float(entry.get("usd", 0.0))
        self._spent += _round_up(usd)
        self._spend[model] = replace(
            spend,
            calls=spend.calls + int(entry.get("calls", 0)),
            input_tokens=spend.input_tokens + int(entry.get("input_tokens", 0)),
            output_tokens=spend.output_tokens + int(entry.get("output_tokens", 0)),
            cached_tokens=spend.cached_tokens + int(entry.get("cached_tokens", 0)),
            usd=spend.usd + usd,
            unsure_usd=spend.unsure_usd + (usd if entry.get("unsure") else 0.0),
            remembered=spend.remembered + int(entry.get("remembered", 0)),
        )

    def _read(self, path: Path) -> None:
        if not path.is_file():
            return
        unsettled: dict[str, Mapping[str, Any]] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # torn by a kill: a reservation before it was sent, or an expense whose reservation counts
            if "reserved" in entry:
                unsettled[entry["reserved"]] = entry
            else:
                unsettled.pop(entry.get("settled", ""), None)
                self._enter(entry)
        for number, entry in unsettled.items():
            lost = {"settled": number, "model": entry["model"], "usd": entry["usd"], "unsure": True, "calls": 1}
            self._enter(lost)
            self._write(lost)

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                # A line of its own even behind one that a kill has torn.
                file.write("\n" + json.dumps(entry))
        except OSError as error:
            raise TeacherError(
                f"the ledger {self.path} could not be written ({error.strerror}): free some space, then resume"
            ) from error


def spent(path: str | Path) -> tuple[Spend, ...]:
    """What a ledger's file holds by now, by model; calls in flight count as spent. Writes nothing."""
    ledger = Ledger()
    ledger._read(Path(path))
    return ledger.by_model()


def _round_up(usd: float) -> int:
    return math.ceil(round(usd * _BILLION, 3))
