"""The best student so far, by accuracy on held-out prompts: one folder, and a note of what it scored.

    best/          a plain model folder, whole at every moment (while it is replaced, the old one is beside it)
    best.json      {"step": 40, "accuracy": 0.61, "temperature": 1.0, "split": "dev", "problems": 100}

Chosen as the best of several on the same prompts, so its accuracy there is a little too high: report it on others.
Knows files and one record; how a student is saved the caller says.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from omniopd.errors import RunError
from omniopd.io.fields import read_fields
from omniopd.records import EvalRecord

FOLDER, NOTE = "best", "best.json"


@dataclass(frozen=True, slots=True)
class Best:
    """What the kept student scored, and where."""

    step: int
    accuracy: float
    temperature: float
    split: str
    problems: int


def read_best(folder: Path) -> Best | None:
    """The note in `folder`, or None where no student has been kept. Raises RunError for one that cannot be read."""
    try:
        return read_fields(Best, json.loads((folder / NOTE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{folder / NOTE} cannot be read ({error}): remove it, and the next evaluation keeps anew"
        ) from error


def keep_best(folder: Path, record: EvalRecord, save: Callable[[Path], None]) -> bool:
    """Keep the student of `record` in `folder`/best if it scored higher than the one kept there; of a tie the earlier.

    `save(path)` writes the model into the new folder `path`. One that was measured otherwise (temperature, split,
    number of problems) is replaced. A kill leaves the old student or the new one, each with its own note. Returns
    whether it was kept.
    """
    new = Best(record.step, record.accuracy, record.temperature, record.split, len(record.problems))
    old = read_best(folder)
    comparable = old is not None and (old.temperature, old.split, old.problems) == (
        new.temperature,
        new.split,
        new.problems,
    )
    if old is not None and comparable and not new.accuracy > old.accuracy and (folder / FOLDER).is_dir():
        return False
    final, beside, replaced = folder / FOLDER, folder / f".{FOLDER}.new", folder / f".{FOLDER}.old"
    for stale in (beside, replaced):
        shutil.rmtree(stale, ignore_errors=True)
    save(beside)
    note = folder / f".{NOTE}.new"
    note.write_text(json.dumps(asdict(new)) + "\n", encoding="utf-8")
    if final.exists():
        os.rename(final, replaced)
    os.rename(beside, final)
    os.replace(note, folder / NOTE)
    shutil.rmtree(replaced, ignore_errors=True)
    return True
