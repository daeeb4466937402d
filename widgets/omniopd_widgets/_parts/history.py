"""The recorded rollouts of a run: those of one step as rows of a table, and one prompt's forks through training.

Reads a run's files as they come and remembers only what a list needs; a rollout itself is read when it is opened. A
file that cannot be read is named and passed over. Knows records, no view.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from omniopd.errors import RunError
from omniopd.records import AuditRecord, RolloutRecord
from omniopd.runs.store import ROLLOUTS, Run
from omniopd_widgets._parts import pencil
from omniopd_widgets._parts.fork_names import numbered
from omniopd_widgets._parts.run_list import Signature, signature
from omniopd_widgets._parts.safe import JsonObject, shorten, to_json

ROWS = 300  # of one step in the table
PROMPTS = 60  # in the list of those that can be followed
SAME_FORKS = 12  # drawn each in a small chart
PROFILE = 160  # bars of an answer's entropy
_AT_ONCE = 16 * 2**20  # bytes read in one look, so that a long run does not hold up the first picture


@dataclass(slots=True)
class _Step:
    """What is kept of a step's file: its signature, and whose answers it holds."""

    signature: Signature
    labels: dict[str, str] = field(default_factory=dict)
    probes: list[RolloutRecord] = field(default_factory=list)


class History:
    """The rollouts of one run. `problems` names the files that cannot be read."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.problems: dict[int, str] = {}
        self._steps: dict[int, _Step] = {}

    def read(self) -> tuple[bool, bool]:
        """Read files that are new or have changed; returns whether anything changed, and whether all is read."""
        folder = self.run.path / ROLLOUTS
        found = {step: signature(folder / f"step_{step:06d}.jsonl") for step in self.run.rollout_steps()}
        gone = [step for step in self._steps if found.get(step) != self._steps[step].signature]
        for step in gone:
            del self._steps[step]
        self.problems = {step: said for step, said in self.problems.items() if step in found and step not in gone}
        changed, size = bool(gone), 0
        for step, mark in found.items():
            if step in self._steps or mark is None:
                continue
            if size >= _AT_ONCE:
                return True, False
            size += mark.size
            changed = True
            self._steps[step] = self._index(step, mark)
        return changed, True

    @property
    def steps(self) -> list[int]:
        return sorted(self._steps)

    def rollouts(self, step: int) -> list[RolloutRecord]:
        """Those of a step, probes first. Raises RunError where they cannot be read."""
        return sorted(self.run.rollouts(step), key=lambda record: (not record.probe, record.row))

    def prompts(self) -> list[JsonObject]:
        """Prompts that were recorded, probes first, then those of most steps: id, label, how many steps, probe."""
        steps: dict[str, int] = {}
        labels: dict[str, str] = {}
        probes = {record.prompt_id for step in self._steps.values() for record in step.probes}
        for step in self._steps.values():
            for prompt, label in step.labels.items():
                steps[prompt] = steps.get(prompt, 0) + 1
                labels[prompt] = label
        order = sorted(steps, key=lambda prompt: (prompt not in probes, -steps[prompt]))
        return [
            to_json(
                {"key": key(p), "id": shorten(p, 60), "label": labels[p], "steps": steps[p], "probe": p in probes}
            )
            for p in order[:PROMPTS]
        ]

    def of_prompt(self, wanted: str) -> list[RolloutRecord]:
        """The rollouts of one prompt (its id or its `key`): the first of each step. Damaged files are skipped."""
        found = []
        for number in self.steps:
            step = self._steps[number]
            prompt = next((p for p in step.labels if wanted in (p, key(p))), None)
            if prompt is None:
                continue
            records: Iterable[RolloutRecord] = step.probes
            if not any(record.prompt_id == prompt for record in step.probes):
                try:
                    records = self.run.rollouts(number)
                except RunError as error:
                    self.problems[number] = str(error)
                    continue
            found += [record for record in records if record.prompt_id == prompt][:1]
        return found

    def _index(self, number: int, mark: Signature) -> _Step:
        step = _Step(mark)
        try:
            records = self.run.rollouts(number)
        except RunError as error:
            self.problems[number] = str(error)
            return step
        for record in records:
            step.labels.setdefault(record.prompt_id, question(record, 100))
        step.probes = [record for record in records if record.probe]
        return step


def key(prompt: str) -> str:
    """A short name for a prompt's id, which may be any text."""
    return hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def rows(records: Sequence[RolloutRecord]) -> list[JsonObject]:
    """One line a rollout for the table of a step; texts are shortened."""
    return [to_json(_row(record)) for record in records[:ROWS]]


def _row(record: RolloutRecord) -> dict[str, object]:
    trusts = [audit.posterior_mean for audit in record.audits]
    trust = pencil.acceptance(record.audits)  # a run's own trust is of its last token, the one it parts from
    if trust is None and trusts:
        trust = sum(trusts) / len(trusts)
    return {
        "row": record.row, "probe": record.probe, "question": question(record, 80),
        "answer": shorten("".join(record.pieces), 120), "right": record.right,
        "tokens": len(record.pieces), "cut": record.finish != "stop", "forks": len(record.audits),
        "unanswered": len(record.unanswered), "entropy": max(record.entropies, default=0.0), "trust": trust,
    }  # fmt: skip


def through_training(records: Sequence[RolloutRecord]) -> JsonObject:
    """One prompt's answers by step (`strips`), and the forks that came up after the same words at several (`same`):
    those that changed most, in the order of the answer.

    A strip holds the highest entropy of each stretch of the answer, and its audited forks: where they begin, and the
    trust and the agreement (`share`) that the audit gave the student's own chunk. Of a scan these are the tokens from
    which a text parts; they are followed to the steps at which all texts agree.
    """
    threads: dict[str, list[tuple[RolloutRecord, AuditRecord]]] = {}
    for record in records:
        for audit in pencil.parting(record):
            threads.setdefault("".join(record.pieces[: audit.start]), []).append((record, audit))
    for prefix, seen in threads.items():
        if any(audit.run for _, audit in seen):
            agreed = [(record, pencil.agreed_after(record, prefix)) for record in records]
            seen += [(record, audit) for record, audit in agreed if audit is not None]
            seen.sort(key=lambda item: item[0].step)
    several = [(prefix, seen) for prefix, seen in threads.items() if len(seen) > 1]
    several.sort(key=lambda item: -_change([audit for _, audit in item[1]]))
    drawn = sorted(several[:SAME_FORKS], key=lambda item: item[1][0][1].start)
    same = [
        {
            "before": prefix[-40:], "start": seen[0][1].start,
            "points": [{"step": record.step, **_fork(audit)} for record, audit in seen],
        }
        for prefix, seen in drawn
    ]  # fmt: skip
    return to_json(
        {
            "question": question(records[0], 1_000), "expected": shorten(records[0].answer or "", 200),
            "strips": [_strip(record) for record in records], "same": same, "more": len(several) - len(same),
        }
    )  # fmt: skip


def question(record: RolloutRecord, limit: int) -> str:
    """What was asked: the last message, shortened."""
    return shorten(str(record.messages[-1].get("content", "")) if record.messages else record.prompt_id, limit)


def _strip(record: RolloutRecord) -> dict[str, object]:
    time = len(record.entropies)
    bars = min(PROFILE, time)
    named, begins = numbered(record), {audit.stop: audit.start for audit in record.audits}
    edges = [time * bar // bars for bar in range(bars + 1)] if bars else [0]
    return {
        "step": record.step, "row": record.row, "tokens": time, "cut": record.finish != "stop",
        "answer": shorten("".join(record.pieces), 400), "right": record.right,
        "profile": [round(max(record.entropies[a:b]), 3) for a, b in itertools.pairwise(edges)],
        "forks": [{"nth": named[a.start], "begin": begins[a.stop], "stop": a.stop, **_fork(a)}
                  for a in pencil.parting(record)[:64]],
        "scan": any(audit.run for audit in record.audits),
    }  # fmt: skip


def _fork(audit: AuditRecord) -> dict[str, object]:
    return {
        "start": audit.start, "run": audit.run, "chunk": shorten(audit.chunk, 60),
        "entropy": round(audit.entropy, 4), "trust": round(audit.posterior_mean, 4),
        "share": round(audit.soft_count / len(audit.texts), 4) if audit.texts else None,
    }  # fmt: skip


def _change(audits: Sequence[AuditRecord]) -> float:
    """How much a fork moved through training: what makes it worth a look."""
    entropies, trusts = [a.entropy for a in audits], [a.posterior_mean for a in audits]
    return max(entropies) - min(entropies) + max(trusts) - min(trusts)
