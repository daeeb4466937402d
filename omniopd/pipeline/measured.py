"""How a model is measured: on the recipe's task, for a teacher that sees more as it sees it.

Only its prompts are others then: what is measured, recorded and graded is the same.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from omniopd.config import Recipe
from omniopd.config.sees import Sees
from omniopd.evaluation.evaluate import PROBLEM_SEED, evaluate
from omniopd.models.text.shown import lacks, shown
from omniopd.pipeline.build import LocalModel
from omniopd.records import EvalRecord
from omniopd.tasks.build import build_task
from omniopd.types import Prompt, Task

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShownTask:
    """A task whose prompts are what a teacher sees of them; everything else is the task's."""

    task: Task
    sees: Sees

    def prompts(self, split: str, count: int | None = None, seed: int = 0) -> list[Prompt]:
        return [shown(self.sees, prompt) for prompt in self.task.prompts(split, count, seed)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


def task_of(recipe: Recipe, sees_more: bool) -> Task:
    """The recipe's task; `sees_more`: as its teacher sees it."""
    task, sees = build_task(recipe), recipe.teacher.shown
    return ShownTask(task, sees) if sees_more and sees else task


def is_measurable(recipe: Recipe) -> bool:
    """Whether the held-out problems have what the teacher is to see. Logs it where they have not."""
    sees = recipe.teacher.shown
    if not sees.needs:
        return True
    problems = build_task(recipe).prompts(recipe.task.test_split, recipe.evaluation.problems or None, PROBLEM_SEED)
    lacking = next((prompt for prompt in problems if lacks(sees, prompt)), None)
    if lacking is not None:
        _log.warning("the teacher is not measured: %s has no %s for it to see", lacking.id, lacks(sees, lacking))
    return lacking is None


def evaluation_plan(recipe: Recipe) -> list[tuple[float, int]]:
    """Temperatures with how many answers a problem gets: all `samples` at the hottest one (pass@k is read there), an
    eighth of them at the others, one where sampling is greedy."""
    e = recipe.evaluation
    hottest = max(e.temperatures, default=0.0)
    return [(t, 1 if t == 0 else e.samples if t == hottest else max(1, e.samples // 8)) for t in e.temperatures]


def measure(
    who: str,
    local: LocalModel,
    task: Task,
    recipe: Recipe,
    temperature: float,
    samples: int,
    problems: int | None = None,
    step: int = 0,
    **more: Any,
) -> EvalRecord:
    """`local` on the held-out problems of a recipe's task: `problems` of them (None: `evaluation.problems`; 0: all).

    `more` is `evaluate`'s: `progress` and `on_results` are told what is done, `keep` is a file to go on from. Of
    several processes each takes its share.
    """
    return evaluate(
        local.model,
        local.tokenizer,
        task,
        samples=samples,
        temperature=temperature,
        limit=(recipe.evaluation.problems if problems is None else problems) or None,
        seed=recipe.seed,
        split=recipe.task.test_split,
        max_tokens=recipe.student.max_tokens,
        batch=recipe.evaluation.batch,
        name=who,
        step=step,
        shared=True,
        **more,
    )
