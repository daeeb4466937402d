"""The trained student as a plain model folder, and from a run's last checkpoint. Knows models and files, no run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from omniopd.config import Recipe
from omniopd.errors import ConfigError, RunError
from omniopd.models.loading import load_model
from omniopd.models.pieces import whole_weights
from omniopd.training.trl.strategies import pieces_of, with_pieces


def save_student(model: Any, tokenizer: Any, folder: Path, merge: bool = False) -> None:
    """A plain folder that `from_pretrained` loads; it appears whole or not at all, in place of what was there.

    A model in pieces is saved inside `models.pieces.whole`, by one process. `merge`: LoRA into the weights. Raises
    RunError where it cannot be written.
    """
    if merge and hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    beside = folder.with_name(f".{folder.name}.tmp")
    _remove(beside)
    try:
        model.save_pretrained(beside, state_dict=whole_weights(model))
        tokenizer.save_pretrained(beside)
    except OSError as error:
        raise RunError(
            f"{folder} could not be written ({error.strerror or error}): free some space and resume the run, whose "
            "last checkpoint holds the same weights"
        ) from error
    _remove(folder)
    os.replace(beside, folder)


def require_mergeable(recipe: Recipe, way_out: str) -> None:
    """ConfigError for an adapter on weights of 4 bits: merged into them it would be rounded to 4 bits itself, merged
    into whole ones it would sit on others than it was trained and measured on."""
    if recipe.student.load_in_4bit:
        raise ConfigError(
            "student.load_in_4bit is true, and an adapter that is merged into weights of 4 bits is rounded to 4 bits "
            f"itself: {way_out}"
        )


def from_checkpoint(model: Any, checkpoint: Path, recipe: Recipe) -> Any:
    """The trained student of a run that was stopped between its last step and its end."""
    if (pieces := pieces_of(checkpoint)) is not None:
        return with_pieces(model, pieces)
    if recipe.student.lora_rank:
        from peft import PeftModel

        return PeftModel.from_pretrained(model.unload(), checkpoint)
    return load_model(str(checkpoint), dtype=recipe.student.dtype)


def _remove(place: Path) -> None:
    """Whatever stands there: a folder, a file, a link to nowhere."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    elif os.path.lexists(place):
        place.unlink()
