"""Everything about a run that can be known in seconds, looked at before anything is computed and any folder is made.

Reads names, data, tokenizers and configurations; loads no weights and asks no teacher. What only a loaded model shows
the trainer says when it is built, still before anything is measured (`run.py`).
"""

from __future__ import annotations

from omniopd.config import METHODS, Recipe, check
from omniopd.config.sharing import check_waves, micro_batches
from omniopd.errors import DataError
from omniopd.evaluation.evaluate import PROBLEM_SEED
from omniopd.io import processes
from omniopd.models.adapters import require_targets
from omniopd.models.four_bits import require_bitsandbytes
from omniopd.models.loading import config_of, load_tokenizer
from omniopd.models.text.chat import prompt_ids
from omniopd.pipeline.build import packed_for, require_model, require_teacher
from omniopd.pipeline.saving import require_mergeable
from omniopd.runs.trackers import require_tracker
from omniopd.tasks.build import build_task
from omniopd.tasks.rows import require_answers, require_shown
from omniopd.training.checks.sampler import require_sampler
from omniopd.training.devices import device_of
from omniopd.types import Teacher

_GRADED = ("task.test_split", "evaluation.every_split")
_ASKED = ("task.train_split", "training.probe_prompts")  # about whose answers a teacher is asked


def require_ready(recipe: Recipe, teacher: Teacher | None = None, merge: bool = False) -> None:
    """Raises the first of what would end a run of the recipe: ConfigError, DataError, TeacherError, Refused.

    `teacher` takes the place of the recipe's; `merge`: an adapter is to be merged into its model.
    """
    require_tracker(check(recipe).training.report_to)
    training = recipe.training
    _, of_a_step = micro_batches(training.rollouts, training.micro_batch, processes.count())
    check_waves(training.waves, of_a_step)
    require_sampler(recipe.student, device_of(recipe))
    _require_packages(recipe)
    if merge:
        require_mergeable(recipe, "leave --merge out")
    require_model("student.model", recipe.student.model)
    if recipe.student.target_modules:
        _require_targets(recipe)
    if teacher is None:
        require_teacher(recipe)
    _require_data(recipe)


def _require_packages(recipe: Recipe) -> None:
    packed_for(recipe)
    if recipe.training.optimizer == "adamw_8bit":
        require_bitsandbytes('training.optimizer is "adamw_8bit"', "set training.optimizer=adamw")


def _require_targets(recipe: Recipe) -> None:
    if (config := config_of(recipe.student.model)) is not None:
        require_targets(recipe.student.target_modules, recipe.student.model, config)


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
            if key in _ASKED and METHODS[recipe.method].reads == "texts":
                require_shown(prompts, recipe.teacher.shown, recipe.task.solution_column)
            if key in _GRADED:
                require_answers(task, prompts, "an evaluation")
        except DataError as error:
            raise DataError(f"{key}: {error}") from error
