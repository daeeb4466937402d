"""Where models run. Imports no trainer: whoever only looks at a student need not wait for TRL."""

from __future__ import annotations

import torch

from omniopd.config import Recipe
from omniopd.errors import ConfigError


def device_of(recipe: Recipe) -> str:
    """Where models run: the recipe's `training.device`, or a CUDA device if there is one, else the CPU. Raises
    ConfigError for a GPU that is not there."""
    wanted = recipe.training.device
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError('training.device is "cuda", and there is none here: use "auto" or "cpu"')
    return wanted
