"""The forks of several runs as one table, read step by step and again only where a file has changed. Knows no view."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniopd.errors import RunError
from omniopd.records import AuditRecord, RolloutRecord
from omniopd.runs.fork_labels import FILE, agreement_with_similarities, give_label, labelled_audits, labels_of
from omniopd.runs.fork_table import rows_of, table_of
from omniopd.runs.listing import result_runs
from omniopd.runs.store import Run, open_run
from omniopd_widgets._parts.run_list import signature
from omniopd_widgets._parts.safe import JsonObject, to_json

if TYPE_CHECKING:
    import pandas

_Place = tuple[str, int]  # a run's folder and a step


class ForkSource:
    """`table` holds what has been read so far."""

    def __init__(self, runs: Run | str | Path | Iterable[Run | str | Path]) -> None:
        given = [runs] if isinstance(runs, Run | str | Path) else list(runs)
        paths = [path for one in given for path in ([one.path] if isinstance(one, Run) else result_runs([one]))]
        self.runs = {str(path): open_run(path) for path in dict.fromkeys(paths)}
        self.table: pandas.DataFrame = table_of(())
        self._read: dict[_Place, _Step] = {}

    @property
    def problems(self) -> list[str]:
        """What could not be read, a sentence each."""
        return [step.problem for step in self._read.values() if step.problem]

    def look(self, seconds: float) -> tuple[bool, bool]:
        """Read for about so long. Returns whether the table has changed, and whether all is read."""
        until, changed = time.monotonic() + seconds, False
        wanted = [(name, step) for name, run in self.runs.items() for step in run.rollout_steps()]
        labels = {name: signature(run.path / FILE) for name, run in self.runs.items()}
        for place in self._read.keys() - set(wanted):
            del self._read[place]
            changed = True
        done = True
        for name, step in wanted:
            run, known = self.runs[name], self._read.get((name, step))
            marks = signature(run.rollout_file(step)), labels[name]
            if known is not None and known.marks == marks:
                continue
            if time.monotonic() > until and changed:
                done = False
                break
            self._read[name, step] = _read_step(run, step, marks)
            changed = True
        if changed:
            order = {name: at for at, name in enumerate(self.runs)}
            places = sorted(self._read, key=lambda place: (order[place[0]], place[1]))
            self.table = table_of(row for place in places for row in self._read[place].rows)
        return changed, done

    def number(self, fork: str) -> int | None:
        """The row of a fork by its name (`name_of`)."""
        mark, _, place = fork.rpartition("|")
        run = next((name for name in self.runs if _mark(name) == mark), None)
        t, numbers = self.table, place.split(":")
        if len(numbers) != 3 or not all(n.isdigit() for n in numbers):
            return None
        step, rollout, start = map(int, numbers)
        found = t.index[(t.run == run) & (t.step == step) & (t.rollout == rollout) & (t.start == start)]
        return int(found[0]) if len(found) else None

    def row(self, number: int) -> dict[str, Any]:
        """A row by the names of its columns."""
        [found] = self.table.loc[[number]].to_dict("records")
        return {str(name): value for name, value in found.items()}

    def give_label(self, number: int, label: str, note: str) -> None:
        """Label the fork of a row, in its run and here, without reading the run again. Raises RunError."""
        row = self.row(number)
        name, step = row["run"], row["step"]
        run = self.runs[name]
        before = signature(run.path / FILE)
        give_label(run.path, step, row["rollout"], row["start"], row["chunk"], label, note)
        after = signature(run.path / FILE)
        for place, known in self._read.items():
            if place[0] == name and known.marks[1] == before:
                self._read[place] = replace(known, marks=(known.marks[0], after))
        self._read[name, step] = _read_step(run, step, self._read[name, step].marks)
        self.table.loc[number, ["label", "note"]] = [label, note]

    def rollout(self, number: int) -> tuple[Run, RolloutRecord, AuditRecord | None]:
        """The run, the rollout and the audit of a row; no audit where nobody answered. Raises RunError where they are
        gone."""
        row = self.row(number)
        run = self.runs[row["run"]]
        for rollout in run.rollouts(row["step"]):
            if rollout.row == row["rollout"] and rollout.prompt_id == row["prompt"]:
                return run, rollout, next((a for a in rollout.audits if a.start == row["start"]), None)
        raise RunError(f"{run.path} has no answer {row['rollout']} of step {row['step']} any more: it was written anew")

    def agreement(self) -> list[JsonObject]:
        """How similarities rank the forks that were labelled by hand, a row each; empty without labels."""
        labelled: list[tuple[AuditRecord, str]] = []
        for run in self.runs.values():
            labels = labels_of(run.path)
            for step in sorted({place[0] for place in labels} & set(run.rollout_steps())):
                labelled += labelled_audits(run.rollouts(step), labels)
        if not labelled:
            return []
        return counts_of(agreement_with_similarities(labelled).reset_index())


def counts_of(table: pandas.DataFrame) -> list[JsonObject]:
    """A small table as the page gets it."""
    return [to_json({str(name): value for name, value in row.items()}) for row in table.to_dict("records")]


def name_of(row: Mapping[str, Any]) -> str:
    """A fork's name, which stays its own while runs go on: its run (no path, which would tell of a machine in a saved
    notebook), step, answer and first token."""
    return f"{_mark(row['run'])}|{row['step']}:{row['rollout']}:{row['start']}"


def _mark(run: str) -> str:
    return hashlib.sha256(run.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class _Step:
    """The rows of a step, what its files were like, and why there are none."""

    marks: Any
    rows: list[tuple[Any, ...]]
    problem: str = ""


def _read_step(run: Run, step: int, marks: Any) -> _Step:
    try:
        return _Step(marks, list(rows_of(run.path, run.rollouts(step))))
    except RunError as error:
        return _Step(marks, [], str(error))
