"""The students that a run has left behind, by name. Knows folders; loads nothing.

    runs/embedded          its trained student
    runs/embedded@0        the student that it began with
    runs/embedded@20       that of step 20, as long as the run keeps its checkpoint
    runs/embedded@best     the best of the evaluations while it trained

Of a run at an address (`s3://bucket/run`) only the student that it began with is here: weights are not copied. A name
that is no run's is a model's: a folder, `embedded:student`, an id on the hub.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from omniopd.config import Recipe
from omniopd.errors import RunError
from omniopd.runs.files.folders import BEST, MANIFEST, MIRROR
from omniopd.runs.status import is_copy
from omniopd.runs.store import Run, open_run

_OF_A_STEP = re.compile(r"step-(\d+)")  # as the trainer names them
_AT = re.compile(r"(.+)@(\d+|best)")
_MODEL_FILES = ("config.json", "adapter_config.json")  # a folder without either holds no model


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`model` is what loads, a folder or a model's name; `recipe` is that of its run, None for a model alone. `label`
    names it for a reader, without the folders above."""

    label: str
    model: str
    recipe: Recipe | None = None


def checkpoint(name: str | Path | Run) -> Checkpoint:
    """The student of this name. Raises RunError for one that its run does not keep, and says which it does."""
    if isinstance(name, Run):
        return _of(name, "")
    text = str(name)
    at = _AT.fullmatch(text)
    if "://" in text:
        return _of(open_run(at[1] if at else text), at[2] if at else "")
    if at is not None and not _is_run(Path(text)) and (_is_run(Path(at[1])) or not Path(text).exists()):
        return _of(open_run(at[1]), at[2])
    if _is_run(Path(text)):
        return _of(open_run(text), "")
    return Checkpoint(_short(Path(text)) if os.path.isabs(text) else text, text)


def kept(run: Run) -> list[str]:
    """What stands behind `@` for each student that the run has: "0" (the one it began with), its steps ascending,
    "best", and "" for the trained one."""
    steps = sorted(step for step, path in _steps(run).items() if _is_whole(path))
    return [
        "0", *map(str, steps), *([BEST] if (run.path / BEST).is_dir() else []), *([""] if run.student.is_dir() else [])
    ]  # fmt: skip


def said(which: str) -> str:
    """In words: "untrained", "step 20", "best", "trained"."""
    return {"0": "untrained", "": "trained", BEST: BEST}.get(which, f"step {which}")


def _of(run: Run, which: str) -> Checkpoint:
    which = which if which == BEST else which and str(int(which))
    if which not in (has := kept(run)):
        if is_copy(run.path):
            raise RunError(
                f"{_address(run.path)} is a run that stands elsewhere, and its weights are not copied: copy the run "
                "here and name its folder, or name the student that it began with (@0)"
            )
        if which.isdigit() and int(which) in _steps(run):
            raise RunError(
                f"{run.path} keeps its student of step {which} in pieces, as several processes wrote it (the strategy "
                f"fsdp2), and no model is loaded from those: name one of {', '.join(map(said, has))}"
            )
        raise RunError(
            f"{run.path} keeps no student that is {said(which)}: it has those that are "
            f"{', '.join(map(said, has))} (a run keeps as many checkpoints as training.keep says)"
        )
    recipe, label = run.recipe, _short(run.path) + (f"@{which}" if which else "")
    if which in ("", BEST):
        return Checkpoint(label, str(run.student if not which else run.path / BEST), recipe)
    if which == "0":
        return Checkpoint(label, recipe.student.model, recipe)
    return Checkpoint(label, str(run.checkpoints / f"step-{int(which):06d}"), recipe)


def _steps(run: Run) -> dict[int, Path]:
    """The checkpoints of a run, whole or in pieces, by their step."""
    inside = run.checkpoints.iterdir() if run.checkpoints.is_dir() else ()
    return {int(of[1]): path for path in inside if (of := _OF_A_STEP.fullmatch(path.name)) and path.is_dir()}


def _is_whole(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _MODEL_FILES)


def _address(copy: Path) -> str:
    """Where the run stands that a folder is a copy of."""
    for root in (copy, *copy.parents):
        with suppress(OSError, ValueError, LookupError, TypeError):
            address = str(json.loads((root / MIRROR).read_text(encoding="utf-8"))["address"])
            return "/".join((address.rstrip("/"), *copy.relative_to(root).parts))
    return str(copy)


def _is_run(path: Path) -> bool:
    return os.path.lexists(path / MANIFEST)


def _short(path: Path) -> str:
    """The last two parts: an arm and its seed, a folder of runs and a run; no more of this machine's folders."""
    return "/".join(path.parts[-2:])
