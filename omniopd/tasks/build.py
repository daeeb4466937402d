"""The task that a recipe names."""

from __future__ import annotations

import importlib

from omniopd.config import Recipe
from omniopd.errors import ConfigError
from omniopd.tasks.registry import TASKS
from omniopd.types import Task


def build_task(recipe: Recipe) -> Task:
    """The task of a recipe. Raises ConfigError for an unknown name, or where a path is missing, and Refused for "code"
    where programs may not or cannot run.
    """
    name = recipe.task.name
    if name not in TASKS:
        raise ConfigError(f"task.name is {name!r}: it must be one of {', '.join(TASKS)}")
    task: Task = importlib.import_module(TASKS[name]).build(recipe.task)
    return task
