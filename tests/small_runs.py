"""Runs small enough for a test: two random models in folders, and a recipe of a few steps on the embedded world."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from omniopd.config import Recipe, load_recipe
from tests.builders import tiny_model, tiny_tokenizer

STEPS = 3


@lru_cache(maxsize=1)
def lab() -> Path:
    """A folder with `student` and `teacher`, as `save_pretrained` writes them."""
    folder = Path(mkdtemp(prefix="omniopd-lab-"))
    for name, seed in (("student", 0), ("teacher", 1)):
        tiny_model(seed, context=512).save_pretrained(folder / name)
        tiny_tokenizer().save_pretrained(folder / name)
    return folder


def settings(**more: Any) -> dict[str, Any]:
    """Dotted settings of a run that takes a second or two; `more` with __ for the dot."""
    small = {
        "student.model": str(lab() / "student"),
        "teacher.model": str(lab() / "teacher"),
        "student.max_tokens": 8,
        "audit.forks": 2,
        "audit.samples": 2,
        "audit.chunk_tokens": 2,
        "task.prompts": 16,
        "training.steps": STEPS,
        "training.rollouts": 4,
        "training.micro_batch": 2,
        "training.save_every": 1,
        "training.record_every": 2,
        "evaluation.problems": 3,
        "evaluation.samples": 2,
        "evaluation.temperatures": [0.0, 1.0],
        "evaluation.controls": [],
    }
    return small | {name.replace("__", "."): value for name, value in more.items()}


def small_recipe(**more: Any) -> Recipe:
    return load_recipe("labels", **settings(**more))


def as_words(**more: Any) -> list[str]:
    """The same settings as words of a command line."""
    return [f"{key}={value}" for key, value in settings(**more).items()]
