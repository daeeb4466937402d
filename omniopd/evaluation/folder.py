"""An evaluation in a folder of its own: what was asked, what was found, and the part that a stopped one goes on from.

    evaluation.json     what was asked: model, its weights' mark, task, its data's, seed, samples, temperatures, limits
    evals.jsonl         one EvalRecord a temperature, per-problem results inside
    evaluating.jsonl    problems that the temperature in work has finished (`partial_results.py`)

Knows files and records; no model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import omniopd
from omniopd.config import Recipe
from omniopd.errors import RunError
from omniopd.io.texts import encoded
from omniopd.records import EvalRecord, read_record, record_json
from omniopd.tasks.sources import DATA

ASKED, FOUND, UNFINISHED = "evaluation.json", "evals.jsonl", "evaluating.jsonl"


class EvaluationFolder:
    """The evaluation in `folder`, new or resumed. `asked` is plain data: everything that the results depend on.

    Raises RunError for a folder that holds another evaluation, or other files, or cannot be written.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self.folder = folder
        wanted = json.loads(json.dumps(asked))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / ASKED
            if not file.exists():
                if any(folder.iterdir()):
                    raise RunError(
                        f"{folder} holds files that do not belong to an evaluation: give an empty folder by --out"
                    )
                file.write_bytes(encoded(json.dumps(wanted, indent=1, ensure_ascii=False) + "\n"))
            held = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{folder} cannot hold an evaluation ({error}): give another folder by --out") from error
        if held != wanted:
            other = next((key for key in wanted if held.get(key) != wanted[key]), "other settings")
            raise RunError(
                f"{folder} holds an evaluation with another {other} ({held.get(other)!r}, now {wanted.get(other)!r}): "
                "give another folder by --out"
            )

    @property
    def unfinished(self) -> Path:
        """For `evaluate(keep=…)`."""
        return self.folder / UNFINISHED

    def found(self, temperature: float) -> EvalRecord | None:
        """The finished evaluation at a temperature, if there is one; lines torn by a crash are skipped."""
        try:
            lines = (self.folder / FOUND).read_bytes().decode("utf-8", "replace").split("\n")[:-1]
        except OSError:
            return None
        records = [record for line in lines if isinstance(record := _record(line), EvalRecord)]
        return next((record for record in records if record.temperature == temperature), None)

    def add(self, record: EvalRecord) -> None:
        """Keep a finished evaluation; it is on the disk when this returns."""
        try:
            with open(self.folder / FOUND, "ab+") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - 1, 0))
                torn = size > 0 and file.read(1) != b"\n"  # by a crash: it stays a line of its own
                file.write(b"\n" * torn + record_json(record).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self.unfinished.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{self.folder} cannot be written ({error.strerror or error}): free some space") from error


def everything_asked(recipe: Recipe, weights: str, step: int = 0) -> dict[str, Any]:
    """All that an evaluation of the student of `recipe` after this step, whose weights have this mark, depends on."""
    e, task = recipe.evaluation, asdict(recipe.task)
    # What is practised is not measured, and no student sees a solution.
    kept = {name: value for name, value in task.items() if name not in ("train_split", "prompts", "solution_column")}
    data = data_mark(recipe.task.path)
    return {
        "model": recipe.student.model,
        "weights": weights or f"omniopd {omniopd.__version__}",
        "step": step,
        "dtype": recipe.student.dtype,
        "task": kept,
        **({"data": data} if data else {}),
        "seed": recipe.seed,
        "temperatures": list(e.temperatures),
        "samples": e.samples,
        "problems": e.problems,
        "max_tokens": recipe.student.max_tokens,
    }


def place_of(parent: Path, model: str, asked: Mapping[str, Any]) -> Path:
    """Where an evaluation stands that was given no folder: one below `parent` for each thing that can be asked."""
    mark = hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=5).hexdigest()
    name = re.sub(r"[^\w.+-]+", "-", model).strip("-.")[-60:] or "model"
    return parent / f"{name}_{mark}"


def weights_mark(model: str, commit: str | None = None) -> str:
    """What changes when a model of this name becomes another: the hub's commit, or names, sizes and times of files."""
    folder = Path(model)
    if commit or not folder.is_dir():
        return commit or ""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".json"))
    told = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=8).hexdigest()


def data_mark(path: str) -> str:
    """What changes when the data at a path become others: sizes and times of the file, or of those in the folder."""
    place = Path(path)
    if not path or not place.exists():
        return ""  # an id on the hub, a task's own name, or problems that are made
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.suffix in DATA)
    told = [(str(file.relative_to(place)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=8).hexdigest()


def _record(line: str) -> object:
    try:
        return read_record(line)
    except (ValueError, TypeError):
        return None
