"""What people say of forks by hand: a line each in a file beside the run's records, and how well similarities agree.

A label belongs to a fork by its step, answer, first token and chunk, so that it is not taken for that of another answer
where a resumed run has written its steps anew. Labels may be given while the run goes on: the run never writes here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from omniopd.errors import RunError
from omniopd.method.similarity import without_model
from omniopd.records import AuditRecord, ForkLabel, RolloutRecord
from omniopd.runs.files.lines import read_lines
from omniopd.runs.files.shared import BY_HAND, append_shared
from omniopd.runs.manifest import now

if TYPE_CHECKING:
    import pandas

FILE = "fork_labels.jsonl"
REAL_CHOICE, ONLY_WORDING, TEACHER_WRONG, OTHER = "real choice", "only wording", "teacher wrong", "other"
LABELS = (REAL_CHOICE, ONLY_WORDING, TEACHER_WRONG, OTHER)
RECORDED = "recorded"
_LONGEST_NOTE = 2000
Key = tuple[int, int, int, str]  # step, answer, first token, chunk


def key(step: int, rollout: int, start: int, chunk: str) -> Key:
    """What tells a fork of a run from every other."""
    return step, rollout, start, chunk


def labels_of(run: Path) -> dict[Key, ForkLabel]:
    """The labels in a run's folder, the last one of each fork. Raises RunError for a damaged line."""
    found = {key(r.step, r.rollout, r.start, r.chunk): r for r in read_lines(run / FILE, ForkLabel, BY_HAND)}
    return {place: record for place, record in found.items() if record.label or record.note}


def give_label(run: Path, step: int, rollout: int, start: int, chunk: str, label: str, note: str = "") -> ForkLabel:
    """Write the label of a fork, one of `LABELS` ("": take it back). It is on the disk when this returns.

    Raises RunError for another label, a note that is too long, a file that cannot be written, and where another process
    keeps it locked.
    """
    if label not in ("", *LABELS):
        raise RunError(f"{label!r} is no label of a fork: take one of {', '.join(LABELS)}, or an empty text for none")
    if len(note) > _LONGEST_NOTE:
        raise RunError(f"the note has {len(note):,} characters: write at most {_LONGEST_NOTE:,}")
    record = ForkLabel(step, rollout, start, chunk, label, note, now())
    append_shared(run / FILE, record)
    return record


def agreement_with_similarities(labelled: Iterable[tuple[AuditRecord, str]]) -> pandas.DataFrame:
    """How similarities see forks that people have labelled, one row each: the mean over the forks of each label, and
    `ranks`, the share of pairs of an "only wording" and a "real choice" in which the similarity is higher for the
    wording (ties count half; .5 is chance), with the number of `pairs`.

    Runs of a scan are left out: their texts are told by one token.
    """
    import pandas

    given = [(audit, label) for audit, label in labelled if not audit.run and audit.texts]
    rows = []
    for name, compare in {RECORDED: None, **without_model()}.items():
        seen: dict[str, list[float]] = {label: [] for label in LABELS}
        for audit, label in given:
            found = audit.similarities if compare is None else compare(audit.chunk, audit.texts)
            if label in seen:
                seen[label].append(sum(found) / len(found))
        above = [(a > b) + (a == b) / 2 for a, b in product(seen[ONLY_WORDING], seen[REAL_CHOICE])]
        means = {label: sum(values) / len(values) if values else math.nan for label, values in seen.items()}
        rows.append({"similarity": name, **means, "ranks": sum(above) / len(above) if above else math.nan,
                     "pairs": len(above)})  # fmt: skip
    return pandas.DataFrame(rows).set_index("similarity")


def labelled_audits(
    rollouts: Iterable[RolloutRecord], labels: Mapping[Key, ForkLabel]
) -> list[tuple[AuditRecord, str]]:
    """The audits that have a label, with it."""
    return [
        (audit, record.label)
        for rollout in rollouts
        for audit in rollout.audits
        if (record := labels.get(key(rollout.step, rollout.row, audit.start, audit.chunk))) is not None and record.label
    ]
