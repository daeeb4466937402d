"""Everything about a run that can be known in seconds, looked at before anything is computed and any folder is made.

Reads names, data, tokenizers and configurations; loads no weights and asks no teacher. What only a loaded model shows
the trainer says when it is built, still before anything is measured (`job.py`).
"""

from __future__ import annotations

import os

from transformers import AutoConfig

from omniopd.build import build_hosted_teacher, device_of
from omniopd.config import Recipe
from omniopd.errors import ConfigError, DataError
from omniopd.evaluation.evaluate import PROBLEM_SEED
from omniopd.models.chat import prompt_ids
from omniopd.models.loading import check_folder, load_tokenizer, resolve
from omniopd.tasks.named import build_task
from omniopd.teachers.catalogue import LOCAL, runs_here
from omniopd.teachers.contact import first_contact
from omniopd.tracking import require_tracker
from omniopd.types import Teacher

ASKS_FOR_TEXTS = ("omniopd", "continuations", "sft")


def require_ready(recipe: Recipe, teacher: Teacher | None = None) -> None:
    """Raises the first of what would end a run of the recipe: ConfigError, DataError, TeacherError, Refused.

    `teacher` takes the place of the recipe's.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("this command runs in one process: for several, use OmniOPDTrainer under accelerate launch")
    require_tracker(recipe.training.report_to)
    device_of(recipe)
    _require_model("student.model", recipe.student.model)
    if teacher is None:
        require_teacher(recipe)
    _require_data(recipe)


def require_teacher(recipe: Recipe) -> None:
    """Raises ConfigError or TeacherError for a teacher that nobody can ask: no such folder, no key, nobody there."""
    t = recipe.teacher
    if runs_here(t.model):
        if recipe.method != "grpo":
            _require_model("teacher.model", t.model.removeprefix(LOCAL))
    elif recipe.method in ASKS_FOR_TEXTS:
        made = build_hosted_teacher(recipe)
        if not t.replay:
            first_contact(t.model, made.api_base or "", t.key_variable, made.handover.name == "raw")


def _require_model(key: str, name: str) -> None:
    place = resolve_named(key, name)
    try:
        AutoConfig.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        if os.path.isdir(place) and os.path.isfile(os.path.join(place, "adapter_config.json")):
            return
        raise ConfigError(
            f"{key} is {name!r}, whose configuration cannot be had ({str(error).splitlines()[0]}): check the name, the "
            "network and your access"
        ) from error


def resolve_named(key: str, name: str) -> str:
    """Where a model stands. Raises ConfigError, which names the setting, for a folder that holds none."""
    try:
        place = resolve(name)
        check_folder(name, place)
        load_tokenizer(name)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error
    return place


def _require_data(recipe: Recipe) -> None:
    """The splits that will be asked for exist, hold enough, and the student's template writes their prompts."""
    task, e = build_task(recipe), recipe.evaluation
    wanted = [(recipe.task.train_split, recipe.task.prompts or None, recipe.seed, "task.train_split")]
    if e.temperatures:
        wanted += [(recipe.task.test_split, e.problems or None, PROBLEM_SEED, "task.test_split")]
    if recipe.training.probe_prompts:
        wanted += [(recipe.task.test_split, recipe.training.probe_prompts, PROBLEM_SEED, "training.probe_prompts")]
    if e.every and e.every_split:
        wanted += [(e.every_split, e.every_problems, PROBLEM_SEED, "evaluation.every_split")]
    tokenizer = load_tokenizer(recipe.student.model)
    for split, count, seed, key in wanted:
        try:
            prompts = task.prompts(split, count, seed)
            if not prompts:
                raise DataError(f"the split {split!r} of {task.name} has no problems")
            prompt_ids(tokenizer, prompts[0].messages)
        except DataError as error:
            raise DataError(f"{key}: {error}") from error
