"""What was measured of a run's student after the run: `omniopd evaluate RUN` keeps a folder for each thing asked."""

from __future__ import annotations

from pathlib import Path

from omniopd.records import EvalRecord
from omniopd.runs.files.folders import EVALS, EVALUATIONS
from omniopd.runs.files.lines import whole_records


def evaluated_since(run: Path) -> list[EvalRecord]:
    """All that is finished and can be read; `step` says of which step's student."""
    files = sorted((run / EVALUATIONS).glob(f"*/{EVALS}"))
    return [record for file in files for record in whole_records(file, EvalRecord)]
