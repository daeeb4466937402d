"""A run's student as a folder that others can load: weights, tokenizer, and the card that says how it came about.

Of adapters: one whose model everybody can get is handed on as it is; one on weights that only this machine has is of no
use to others, and has to be merged. Sends nothing (`hub.py` does).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from omniopd.errors import ConfigError, OmniOPDError, RunError
from omniopd.models.fetching import hub_folder
from omniopd.pipeline.saving import require_mergeable
from omniopd.reports.card import hub_name, model_card
from omniopd.runs.files.atomic import make_folder, write_text
from omniopd.runs.store import Run, open_run

ADAPTER, CARD = "adapter_config.json", "README.md"
# What `save_pretrained` writes of a model and a tokenizer; whatever else lies beside it stays here.
FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", "additional_chat_templates/*")


def finished_student(path: str | Path) -> Run:
    """The run in a folder, if it has finished and keeps its student. Raises RunError."""
    run = open_run(path)
    if run.state != "finished":
        status = run.status
        way_out = "wait for it" if run.state in ("queued", "running") else f"omniopd train --resume {run.path}"
        raise RunError(
            f"{run.path} has not finished ({run.state} at step {status.step} of {status.steps}), and a student is "
            f"handed on with all that was measured of it: {way_out}"
        )
    if not any(run.student.glob("*.safetensors")):
        raise RunError(f"{run.path} keeps no student: {run.student} holds no weights (*.safetensors)")
    return run


def require_new(folder: Path) -> None:
    """Raises ConfigError for a folder that holds anything."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} is there already: name a folder that is not (--out), or remove it")


def write_folder(run: Run, repo: str, folder: Path, merge: bool = False) -> Path:
    """Write the student of a finished run with its card into `folder`, which is made; returns it.

    `repo` is what the card calls it ("ORG/NAME"). `merge`: an adapter into its model's weights. Raises ConfigError for
    a folder that is there and for an adapter that nobody else could load, RunError where files cannot be read.
    """
    require_new(folder)
    base = _base_of(run)
    if base is None and merge:
        raise ConfigError(f"{run.student} is no adapter: there is nothing to merge; leave --merge out")
    if merge:
        require_mergeable(run.recipe, "push the adapter as it is (without --merge)")
    shared = None if base is None or merge else _shared_base(run, base)
    card = model_card(run, repo, is_adapter=shared is not None)  # what its records lack is said before anything is done
    try:
        if merge:
            _merge(run, folder)
        else:
            _copy(run.student, folder)
        if shared is not None:
            _name_base(folder / ADAPTER, shared)
        write_text(folder / CARD, card)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)  # half a model is worse than none
        if isinstance(error, OmniOPDError) or not isinstance(error, OSError):
            raise
        raise RunError(f"{folder} could not be written ({error.strerror or error}): free some space first") from error
    return folder


def _copy(student: Path, folder: Path) -> None:
    for file in sorted({file for pattern in FILES for file in student.glob(pattern) if file.is_file()}):
        make_folder((folder / file.relative_to(student)).parent)
        shutil.copyfile(file, folder / file.relative_to(student))


def _merge(run: Run, folder: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    from omniopd.io.quiet import quiet_libraries
    from omniopd.models.loading import DTYPES, load_tokenizer
    from omniopd.pipeline.saving import save_student

    quiet_libraries()
    model = AutoPeftModelForCausalLM.from_pretrained(str(run.student), dtype=DTYPES[run.recipe.student.dtype])
    make_folder(folder.parent)
    save_student(model, load_tokenizer(str(run.student)), folder, merge=True)


def _base_of(run: Run) -> str | None:
    """What an adapter was trained on, as it says itself; None for a student that is all weights."""
    file = run.student / ADAPTER
    if not file.is_file():
        return None
    return str(_config(file).get("base_model_name_or_path") or "")


def _shared_base(run: Run, base: str) -> str:
    """The name by which others get an adapter's model. Raises ConfigError where there is none."""
    model = run.recipe.student.model
    theirs = hub_folder(model)
    if theirs is not None and Path(base).is_dir() and theirs.samefile(base):
        return model  # the hub's own weights, in this machine's cache of it
    if name := hub_name(base):
        return name
    raise ConfigError(
        f"{run.student} is an adapter on {base}, which only this machine has, so that nobody else could load it: push "
        "it merged into those weights (--merge)"
    )


def _name_base(file: Path, name: str) -> None:
    write_text(file, json.dumps(_config(file) | {"base_model_name_or_path": name}, indent=2) + "\n")


def _config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error}): the student of this run is damaged") from error
    if not isinstance(config, dict):
        raise RunError(f"{file} holds no settings of an adapter: the student of this run is damaged")
    return config
