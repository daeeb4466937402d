"""The task that a recipe names. Whatever else a name in a recipe becomes is `build.py`'s."""

from __future__ import annotations

from omniopd.config import TASKS, Recipe
from omniopd.errors import ConfigError
from omniopd.tasks.code import Code
from omniopd.tasks.gsm8k import Gsm8k
from omniopd.tasks.jsonl import Jsonl
from omniopd.tasks.math import Mathematics
from omniopd.tasks.stories import Stories
from omniopd.types import Task


def build_task(recipe: Recipe) -> Task:
    """The task of a recipe. Raises ConfigError for an unknown name, or where a path is missing, and Refused for "code"
    where programs may not or cannot run.
    """
    task = recipe.task
    if task.name == "stories":
        return Stories()
    if task.name == "gsm8k":
        return Gsm8k(task.path) if task.path else Gsm8k()
    if task.name == "jsonl":
        if not task.path:
            raise ConfigError('task.path is empty: a "jsonl" task needs a file or a folder: task.path=problems.jsonl')
        return Jsonl(task.path, task.prompt_column, task.answer_column)
    if task.name == "math":
        return Mathematics(task.path or "math500", config=task.subset or None)
    if task.name == "code":
        return _code(recipe)
    raise ConfigError(f"task.name is {task.name!r}: it must be one of {', '.join(TASKS)}")


def _code(recipe: Recipe) -> Task:
    task = recipe.task
    if task.timeout_s <= 0 or task.memory_mb < 64:
        raise ConfigError(
            f"task.timeout_s is {task.timeout_s} and task.memory_mb {task.memory_mb}: a program needs time, and 64 MiB "
            "for its interpreter"
        )
    code = Code(
        task.path or "openai/openai_humaneval", task.run_programs, task.subset or None, task.timeout_s, task.memory_mb
    )
    code.require()  # said in the first seconds, not after hours of training
    return code
