"""A run directory: typed append, typed read. One layout for every way of starting a run.

    manifest.json   recipe.toml   status.json
    steps.jsonl     one StepRecord a line                 evals.jsonl   one EvalRecord a line
    rollouts/step_000005.jsonl    the RolloutRecords of a step, audits inside, written at once
    checkpoints/    student/      the trainer's; a plain model folder at the end
    set_aside/<time>/             what a resumed run had written past its checkpoint; a torn line

Notebooks and logs of a run may stand beside them. Knows nothing of training and of views: one writes here, the others
read (`following.py` while it is written). A line is on the disk when `append` returns. One writer at a time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omniopd.config import Recipe, check, recipe_from, recipe_toml
from omniopd.errors import RunError
from omniopd.records import EvalRecord, RolloutRecord, RunManifest, StepRecord, read_record, record_json
from omniopd.runs.atomic import append_line, make_folder, sync_folder, write_text
from omniopd.runs.manifest import collect
from omniopd.runs.status import Status, changed, first_status, read_status, state_of, write_status

MANIFEST, RECIPE, STATUS, STEPS, EVALS = "manifest.json", "recipe.toml", "status.json", "steps.jsonl", "evals.jsonl"
ROLLOUTS, CHECKPOINTS, STUDENT, SET_ASIDE = "rollouts", "checkpoints", "student", "set_aside"
LAUNCHED = "OMNIOPD_RUN_FOLDER"  # the environment variable that says where a launched notebook's run shall stand


def create_run(
    folder: str | Path, recipe: Recipe, name: str | None = None, command: Sequence[str] | None = None
) -> Run:
    """A new run directory inside `folder`, called `name`, or by the time and the recipe's name.

    An empty directory is taken over; one that holds anything is refused. `command`: the words that started the run
    (this process's by default). In a notebook that was launched (`omniopd.launch`) the first run without a name gets
    the folder made for it; when that notebook is executed again, the same run comes back to go on. Raises RunError, and
    ConfigError for a recipe made in Python that no file could hold.
    """
    check(recipe)
    folder = Path(folder)
    launched = os.environ.pop(LAUNCHED, None) if name is None else None
    if launched is not None and (Path(launched) / MANIFEST).exists():
        return _same_run(open_run(launched), recipe)
    if (folder / MANIFEST).exists():
        raise RunError(f"{folder} is a run itself: give the folder that shall hold the new run, or resume this one")
    if launched is not None:
        path = Path(launched)
    else:
        path = named_folder(folder, name) if name is not None else new_folder(folder, recipe.name)
    for part in (ROLLOUTS, CHECKPOINTS):
        make_folder(path / part)
    manifest = collect(recipe, name or path.name, command)
    write_text(path / RECIPE, recipe_toml(recipe))
    write_status(path / STATUS, first_status(recipe.training.steps))
    # Last, because a directory is a run once it has a manifest.
    write_text(path / MANIFEST, json.dumps(json.loads(record_json(manifest)), ensure_ascii=False, indent=1) + "\n")
    return Run(path, manifest)


def open_run(path: str | Path) -> Run:
    """The run in a directory, running or over. Raises RunError where there is none."""
    path = Path(path)
    file = path / MANIFEST
    if not file.is_file():
        inside = sorted(p.parent.name for p in path.glob(f"*/{MANIFEST}"))
        hint = f"it holds {len(inside)}, the last is {inside[-1]}" if inside else "give the folder of a manifest.json"
        raise RunError(f"{path} is no run: {hint}")
    try:
        manifest = read_record(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    if not isinstance(manifest, RunManifest):
        raise RunError(f"{file} holds a record of kind {manifest.kind!r}: a run's manifest was expected")
    return Run(path, manifest)


class Run:
    """A run directory. Made by `create_run` and `open_run`; reading never changes anything in it."""

    def __init__(self, path: Path, manifest: RunManifest) -> None:
        self.path = path
        self.manifest = manifest
        self._whole: set[Path] = set()  # files whose last line this object has seen to be complete

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def recipe(self) -> Recipe:
        """The recipe as it was run. Raises ConfigError where this version no longer knows one of its settings."""
        return recipe_from(self.manifest.recipe, str(self.path / MANIFEST))

    @property
    def test_split(self) -> str:
        """Whose problems its evaluations are of, looks in between apart; "" where the recipe does not say."""
        return str(self.manifest.recipe.get("task", {}).get("test_split") or "")

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @property
    def student(self) -> Path:
        """Where the trained student stands once the run has finished."""
        return self.path / STUDENT

    @property
    def status(self) -> Status:
        return read_status(self.path / STATUS)

    @property
    def state(self) -> str:
        """`status.state`, or "lost" where the process is gone without a word."""
        return state_of(self.status)

    def steps(self) -> list[StepRecord]:
        """All step records, in the order of writing; a line being written is left out. RunError for a damaged one."""
        return _read(self.path / STEPS, StepRecord)

    def evals(self) -> list[EvalRecord]:
        """All evaluations, in the order of writing. Raises RunError as `steps` does."""
        return _read(self.path / EVALS, EvalRecord)

    def rollout_steps(self) -> list[int]:
        """The steps whose rollouts were written, ascending."""
        return sorted(step for p in (self.path / ROLLOUTS).glob("step_*.jsonl") if (step := _step_of(p)) is not None)

    def rollouts(self, step: int) -> list[RolloutRecord]:
        """The rollouts of a step, with their audits. Raises RunError for a step that has none."""
        file = self._rollout_file(step)
        if not file.exists():
            have = self.rollout_steps()
            hint = f"the nearest is {min(have, key=lambda s: abs(s - step))}" if have else "no step of it has any"
            raise RunError(f"{self.path} has no rollouts of step {step}: {hint}")
        return _read(file, RolloutRecord)

    def append(self, record: StepRecord | EvalRecord) -> None:
        """Write a record; it is on the disk when this returns. RunError (a full disk) leaves the rest as it was."""
        if not isinstance(record, StepRecord | EvalRecord):
            raise RunError(f"a {type(record).__name__} cannot be appended: only step and eval records can")
        file = self.path / (STEPS if isinstance(record, StepRecord) else EVALS)
        if file not in self._whole:
            if _torn(file):
                self._split(file, lambda _: True, _aside(self.path))
            self._whole.add(file)
        append_line(file, record_json(record))

    def write_rollouts(self, step: int, records: Iterable[RolloutRecord]) -> None:
        """Write the rollouts of a step, all at once; they replace those written before. Raises RunError."""
        write_text(self._rollout_file(step), "".join(record_json(record) + "\n" for record in records))

    def set_status(self, **changes: Any) -> Status:
        """Change `state`, `step`, `steps` or `message`. "running" makes this process the run's own. Raises RunError."""
        status = changed(self.status, **changes)
        write_status(self.path / STATUS, status)
        return status

    def set_aside_after(self, step: int) -> Path | None:
        """Move what was recorded after `step`, and lines that cannot be read, to a new folder below set_aside/.

        For a run resumed from its checkpoint of `step`. Returns that folder, or None where there was nothing to move.
        A kill in between loses nothing: records are copied before they are taken away.
        """
        folder = _aside(self.path)
        for name in (STEPS, EVALS):
            self._split(self.path / name, lambda record: record.step <= step, folder)
            self._whole.add(self.path / name)
        later = [s for s in self.rollout_steps() if s > step]
        if later:
            make_folder(folder / ROLLOUTS)
        for s in later:
            file = self._rollout_file(s)
            os.replace(file, folder / ROLLOUTS / file.name)
        if later:
            sync_folder(folder / ROLLOUTS)
            sync_folder(self.path / ROLLOUTS)
        return folder if folder.exists() else None

    def _rollout_file(self, step: int) -> Path:
        return self.path / ROLLOUTS / f"step_{step:06d}.jsonl"

    def _split(self, file: Path, keep: Callable[[Any], bool], folder: Path) -> None:
        """Keep the lines that hold a wanted record; write the others to `folder` first."""
        kept: list[bytes] = []
        others: list[bytes] = []
        for line in file.read_bytes().splitlines(keepends=True) if file.exists() else []:
            record = _record(line) if line.endswith(b"\n") else None
            (kept if record is not None and keep(record) else others).append(line)
        if not others:
            return
        make_folder(folder)
        write_text(folder / file.name, b"".join(others).decode("utf-8", "replace"))
        write_text(file, b"".join(kept).decode())


def _read(file: Path, kind: type[Any]) -> list[Any]:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}") from error
    records: list[Any] = []
    # What follows the last line end is being written, or was torn by a crash.
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            record = read_record(line.decode())
        except (ValueError, TypeError) as error:
            raise RunError(
                f"line {number} of {file} cannot be read ({error}): resuming the run sets it aside"
            ) from error
        if not isinstance(record, kind):
            raise RunError(f"line {number} of {file} is a record of kind {record.kind!r}: {kind.kind!r} was expected")
        records.append(record)
    return records


def _record(line: bytes) -> Any:
    try:
        return read_record(line.decode())
    except (ValueError, TypeError):
        return None


def _torn(file: Path) -> bool:
    if not file.exists() or file.stat().st_size == 0:
        return False
    with open(file, "rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) != b"\n"


def _step_of(file: Path) -> int | None:
    match = re.fullmatch(r"step_(\d+)\.jsonl", file.name)
    return int(match[1]) if match else None


def named_folder(folder: Path, name: str) -> Path:
    if not re.fullmatch(r"[\w][\w .+=-]*", name):
        raise RunError(f"{name!r} cannot name a run: use letters, digits, spaces, and . _ - + =")
    path = folder / name
    if (path / MANIFEST).exists():
        raise RunError(f"{path} is a run already: resume it, or give the new run another name")
    if path.is_dir() and any(path.iterdir()):
        raise RunError(f"{path} holds files that are no run's: give an empty folder or another name")
    return make_folder(path)


def _same_run(run: Run, recipe: Recipe) -> Run:
    if run.recipe != recipe:
        raise RunError(
            f"{run.path} was begun with other settings than the notebook has now: launch the notebook anew instead of "
            "resuming its run"
        )
    return run


def new_folder(parent: Path, name: str) -> Path:
    """A new folder inside `parent`, called by the time (UTC) and a name. Raises RunError."""
    name = f"{_stamp()}_{_slug(name)}"
    make_folder(parent)
    for attempt in range(1, 1000):
        try:
            return make_folder(parent / (name if attempt == 1 else f"{name}_{attempt}"), exist_ok=False)
        except FileExistsError:
            continue
    raise RunError(f"{parent / name} and 998 like it exist already: give the run a name")


def _aside(path: Path) -> Path:
    """A name below set_aside/ that is not taken; the folder is made when something goes there."""
    stamp, attempt = _stamp(), 1
    while (path / SET_ASIDE / (name := stamp if attempt == 1 else f"{stamp}_{attempt}")).exists():
        attempt += 1
    return path / SET_ASIDE / name


def _stamp() -> str:
    # Colons are not allowed in file names everywhere.
    return datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")


def _slug(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "run"
