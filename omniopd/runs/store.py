"""A run directory: typed append, typed read. One layout for every way of starting a run.

    manifest.json   recipe.toml   status.json   run.lock (claims.py: whose the run is)
    steps.jsonl     one StepRecord a line                 evals.jsonl   one EvalRecord a line
    rollouts/step_000005.jsonl    the RolloutRecords of a step, audits inside, written at once
    checkpoints/    student/    evaluations/    the trainer's; a model folder at the end; of that, since (evaluated.py)
    set_aside/<time>/             what a resumed run had written past its checkpoint; a torn line

Notebooks and logs of a run may stand beside them. Training writes here, views read (`following.py` while it is
written). A line is on the disk when `append` returns. One writer at a time: the process that has claimed the run.
Folders are named in `files/folders.py`, lines are read in `files/lines.py`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniopd.config import Recipe, check, recipe_from, recipe_toml
from omniopd.errors import RunError
from omniopd.records import EvalRecord, RolloutRecord, RunManifest, StepRecord, read_record, record_json
from omniopd.runs.files import claims
from omniopd.runs.files.atomic import TEMPORARY, append_line, make_folder, read_file, sync_folder, write_text
from omniopd.runs.files.claims import claim, release
from omniopd.runs.files.folders import (
    CHECKPOINTS,
    EVALS,
    LAUNCHED,
    MANIFEST,
    RECIPE,
    ROLLOUTS,
    SET_ASIDE,
    STATUS,
    STEPS,
    STUDENT,
    aside,
    launched_folder,
    named_folder,
    nearest_run,
    new_folder,
    refuse_taken,
    require_usable,
)
from omniopd.runs.files.lines import is_torn, read_lines, record_in, whole_records
from omniopd.runs.manifest import collect
from omniopd.runs.mirror import here
from omniopd.runs.status import GOING_ON, Status, changed, first_status, is_copy, read_status, state_of, write_status

if TYPE_CHECKING:
    import pandas

    from omniopd.figures import Figure

__all__ = [
    "CHECKPOINTS", "EVALS", "LAUNCHED", "MANIFEST", "RECIPE", "ROLLOUTS", "SET_ASIDE", "STATUS", "STEPS", "STUDENT",
    "Run", "create_run", "discard_unborn", "open_run", "take_up",
]  # fmt: skip


def create_run(
    folder: str | Path, recipe: Recipe, name: str | None = None, command: Sequence[str] | None = None
) -> Run:
    """A new run directory inside `folder`, called `name`, or by the time and the recipe's name; this process's own.

    An empty directory is taken over; one that holds anything is refused. `command`: the words that started the run
    (this process's by default). In a notebook that was launched (`omniopd.launch`) the first run without a name gets
    the folder made for it; when that notebook is executed again, the same run comes back to go on. Raises RunError, and
    ConfigError for a recipe made in Python that no file could hold.
    """
    check(recipe)
    folder = Path(folder)
    launched = launched_folder() if name is None else None
    if launched is not None and (launched / MANIFEST).exists():
        claim(launched)
        run = open_run(launched)
        if run.recipe != recipe:
            raise RunError(
                f"{launched} was begun with other settings than the notebook has now: launch the notebook anew instead "
                "of resuming its run"
            )
        return run
    if (folder / MANIFEST).exists():
        raise RunError(f"{folder} is a run itself: give the folder that shall hold the new run, or resume this one")
    if launched is not None:
        path = launched
    else:
        path = named_folder(folder, name) if name is not None else new_folder(folder, recipe.name)
    claim(path)
    try:
        if launched is None:
            refuse_taken(path)  # by a process that was quicker
        for part in (ROLLOUTS, CHECKPOINTS):
            make_folder(path / part)
        run = Run(path, collect(recipe, name or path.name, command))
        write_text(path / RECIPE, recipe_toml(recipe))
        write_status(path / STATUS, first_status(recipe.training.steps))
        # Last, because a directory is a run once it has a manifest.
        write_manifest(run)
        run.is_new = True
    except BaseException:
        release(path)
        raise
    return run


def open_run(path: str | Path) -> Run:
    """The run in a directory, running or over, or at an address (`mirror`). Raises RunError where there is none."""
    path = here(path)
    file = path / MANIFEST
    if not os.path.lexists(file):
        inside = sorted(p.parent.name for p in path.glob(f"*/{MANIFEST}"))
        hint = f"it holds {len(inside)}, the last is {inside[-1]}" if inside else "give the folder of a manifest.json"
        if not path.exists():
            hint = "there is no such folder; " + (f"did you mean {near}?" if (near := nearest_run(path)) else hint)
        if (path / RECIPE).is_file() and (path / STATUS).exists():
            hint = f"its {MANIFEST} is missing, without which none goes on; begin anew with {path / RECIPE}"
        raise RunError(f"{path} is not a run: {hint}")
    try:
        manifest = read_record(read_file(file).decode())
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error}): begin anew with {path / RECIPE}") from error
    if not isinstance(manifest, RunManifest):
        raise RunError(f"{file} holds a record of kind {manifest.kind!r}: a run's manifest was expected")
    return Run(path, manifest)


def take_up(path: str | Path) -> Run:
    """The stopped run in a directory, from now on this process's own, its folders and status whole.

    Raises RunError for a folder that is not a run, for a run that is still going on, for one that has finished, and
    where a file of it cannot be read or written; it is nobody's then.
    """
    path = open_run(path).path  # no lock is left in a folder that is none
    if is_copy(path):
        raise RunError(f"{path} is a copy of a run that stands elsewhere: go on with it there")
    claims.take_up(path)
    try:
        run = open_run(path)
        if run.state == "finished":
            raise RunError(f"{path} has finished: there is nothing to resume; start a new run")
        require_usable(path)
        write_status(path / STATUS, run.status)
    except BaseException:
        release(path)
        raise
    return run


def discard_unborn(path: Path, also: Sequence[str] = ()) -> bool:
    """Remove what a process has left that ended before its folder was a run; False, and nothing is removed, where there
    is more. `also`: how the names of further files may begin. For whoever has the run."""
    new = {RECIPE, STATUS, claims.LOCK}
    files = [str(file.relative_to(path)) for file in path.rglob("*") if not file.is_dir()]
    if any(not (file in new or file.endswith(TEMPORARY) or file.startswith(tuple(also))) for file in files):
        return False
    shutil.rmtree(path, ignore_errors=True)
    return True


def write_manifest(run: Run) -> None:
    """Put the manifest of a run into its place. Raises RunError."""
    text = json.dumps(json.loads(record_json(run.manifest)), ensure_ascii=False, indent=1)
    write_text(run.path / MANIFEST, text + "\n")


class Run:
    """A run directory. Made by `create_run` and `open_run`; reading never changes anything in it."""

    def __init__(self, path: Path, manifest: RunManifest) -> None:
        self.path = path
        self.manifest = manifest
        self.is_new = False  # made by this process, as `create_run` says
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
        """Where it stands, as its status.json says; where that cannot be read, as its records say."""
        try:
            return read_status(self.path / STATUS)
        except RunError as error:
            return self._status_of_records(str(error).partition(": is ")[0])

    @property
    def state(self) -> str:
        """`status.state`, or "lost" where the status says "running" and no process owns the run."""
        return state_of(self.status, self.path)

    def steps(self) -> list[StepRecord]:
        """All step records, in the order of writing; a line being written is left out. RunError for a damaged one."""
        return read_lines(self.path / STEPS, StepRecord)

    def missing_steps(self, done: int) -> list[int]:
        """Those of the first `done` steps that have no record: a damaged file is not trained again."""
        recorded = {record.step for record in whole_records(self.path / STEPS, StepRecord)}
        return sorted(set(range(1, done + 1)) - recorded)

    def evals(self) -> list[EvalRecord]:
        """All evaluations, in the order of writing. Raises RunError as `steps` does."""
        return read_lines(self.path / EVALS, EvalRecord)

    def rollout_steps(self) -> list[int]:
        """The steps whose rollouts were written, ascending."""
        return sorted(step for p in (self.path / ROLLOUTS).glob("step_*.jsonl") if (step := _step_of(p)) is not None)

    def rollouts(self, step: int) -> list[RolloutRecord]:
        """The rollouts of a step, with their audits. Raises RunError for a step that has none."""
        file = self.rollout_file(step)
        if not file.exists():
            have = self.rollout_steps()
            hint = f"the nearest is {min(have, key=lambda s: abs(s - step))}" if have else "no step of it has any"
            raise RunError(f"{self.path} has no rollouts of step {step}: {hint}")
        return read_lines(file, RolloutRecord)

    def all_rollouts(self) -> Iterator[RolloutRecord]:
        """The rollouts of every recorded step, one after the other, as `rollouts` reads them."""
        for step in self.rollout_steps():
            yield from self.rollouts(step)

    def forks(self, where: str = "") -> pandas.DataFrame:
        """All recorded forks, a row each (`fork_table.FORK_COLUMNS`), or those that an expression holds for, such as
        `entropy > 1 and agreement < .3`. Raises ConfigError for an expression that is none, RunError as `steps` does.
        """
        from omniopd.runs.fork_table import forks_of

        return forks_of([(self.path, self.all_rollouts())], where)

    def plot(self, what: str = "loss") -> Figure:
        """The figure "loss", "entropy", "accuracy", or of a scan "agreement" or "texts", as it stands now. Raises
        RunError for another name."""
        from omniopd.runs.plots import PLOTS

        if what not in PLOTS:
            raise RunError(f"there is no figure {what!r} of a run: take one of {', '.join(PLOTS)}")
        evals = [record for record in self.evals() if self.test_split in ("", record.split)]
        return PLOTS[what](self.steps(), evals)

    def plots(self) -> list[Figure]:
        """All figures of the run that have something to show."""
        from omniopd.runs.plots import PLOTS

        return [figure for figure in map(self.plot, PLOTS) if figure.data]

    def append(self, record: StepRecord | EvalRecord) -> None:
        """Write a record; it is on the disk when this returns. RunError (a full disk) leaves the rest as it was."""
        if not isinstance(record, StepRecord | EvalRecord):
            raise RunError(f"a {type(record).__name__} cannot be appended: only step and eval records can")
        file = self.path / (STEPS if isinstance(record, StepRecord) else EVALS)
        if file not in self._whole:
            if is_torn(file):
                self._split(file, lambda _: True, aside(self.path))
            self._whole.add(file)
        append_line(file, record_json(record))

    def write_rollouts(self, step: int, records: Iterable[RolloutRecord]) -> None:
        """Write the rollouts of a step, all at once; they replace those written before. Raises RunError."""
        write_text(self.rollout_file(step), "".join(record_json(record) + "\n" for record in records))

    def set_status(self, **changes: Any) -> Status:
        """Change `state`, `step`, `steps` or `message`. "running" makes this process the run's own until it says
        another state or ends. Raises RunError, also where another process owns the run."""
        if changes.get("state") in GOING_ON:
            claim(self.path)
        status = changed(self.status, **changes)
        write_status(self.path / STATUS, status)
        if status.state not in GOING_ON:
            release(self.path)
        return status

    def set_aside_after(self, step: int) -> Path | None:
        """Move what was recorded after `step`, and lines that cannot be read, to a new folder below set_aside/.

        For a run resumed from its checkpoint of `step`. Returns that folder, or None where there was nothing to move.
        A kill in between loses nothing: records are copied before they are taken away.
        """
        folder = aside(self.path)
        for name in (STEPS, EVALS):
            self._split(self.path / name, lambda record: record.step <= step, folder)
            self._whole.add(self.path / name)
        later = [s for s in self.rollout_steps() if s > step]
        if later:
            make_folder(folder / ROLLOUTS)
        for s in later:
            file = self.rollout_file(s)
            os.replace(file, folder / ROLLOUTS / file.name)
        if later:
            sync_folder(folder / ROLLOUTS)
            sync_folder(self.path / ROLLOUTS)
        return folder if folder.exists() else None

    def discard(self, also: Sequence[str] = ()) -> bool:
        """Remove the folder of a run in which nothing was recorded; False, and nothing is removed, where it holds a
        file beyond those of a new run and `also`."""
        return discard_unborn(self.path, (MANIFEST, *also))

    def rollout_file(self, step: int) -> Path:
        """Where the rollouts of a step stand, or would."""
        return self.path / ROLLOUTS / f"step_{step:06d}.jsonl"

    def _status_of_records(self, message: str) -> Status:
        """The status that records give where its file is missing or damaged; no process owns the run in it."""
        step = max((record.step for record in whole_records(self.path / STEPS, StepRecord)), default=0)
        training = self.manifest.recipe.get("training")
        steps = training.get("steps") if isinstance(training, Mapping) else 0
        steps = steps if isinstance(steps, int) else 0
        return Status("running", step=step, steps=steps, started=self.manifest.created, message=message)

    def _split(self, file: Path, keep: Callable[[Any], bool], folder: Path) -> None:
        """Keep the lines that hold a wanted record; write the others to `folder` first."""
        kept: list[bytes] = []
        others: list[bytes] = []
        for line in file.read_bytes().splitlines(keepends=True) if file.exists() else []:
            record = record_in(line) if line.endswith(b"\n") else None
            (kept if record is not None and keep(record) else others).append(line)
        if not others:
            return
        make_folder(folder)
        write_text(folder / file.name, b"".join(others).decode("utf-8", "replace"))
        write_text(file, b"".join(kept).decode())


def _step_of(file: Path) -> int | None:
    match = re.fullmatch(r"step_(\d+)\.jsonl", file.name)
    return int(match[1]) if match else None
