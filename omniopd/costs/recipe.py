"""What a run of a recipe takes of a teacher behind an API: one figure for a terminal, a notebook and a form.

The length of prompts is that of the recipe's own problems; what a call takes stands in the table of models. Sends
nothing; accepting the sum is `consent.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from omniopd.config import Recipe, TaskConfig
from omniopd.config.sees import Sees
from omniopd.models.loading import load_tokenizer, resolve
from omniopd.models.text.chat import about_tokens, prompt_ids
from omniopd.models.text.shown import shown
from omniopd.tasks.build import build_task
from omniopd.tasks.rows import require_shown
from omniopd.teachers.model_traits import runs_here, traits_of
from omniopd.teachers.registry import require_reachable
from omniopd.teachers.spending.estimate import LATENCY_S, TeacherEstimate, estimate
from omniopd.teachers.spending.prices import price_for

_PROMPTS = 64
LOOKED_AT = 1024  # prompts, for the longest
_MADE_HERE = ("stories", "ledgers")  # tasks whose problems no file holds


def estimate_of(
    recipe: Recipe, steps_done: int = 0, controls: Sequence[str] | None = None, latency_s: float | None = None
) -> TeacherEstimate | None:
    """What the steps that are left take, and `controls` (None: the recipe's), with the mean length of the recipe's own
    problems; None for a teacher that runs here, for a replay, and for a method that asks no teacher. Raises ConfigError
    and DataError where tokenizer or problems cannot be had."""
    t = recipe.teacher
    if runs_here(t.model) or t.replay:
        return None
    require_reachable(t.model, t.api_base)
    traits = traits_of(t.model)
    return estimate(
        recipe,
        price_for(t),
        latency_s or LATENCY_S,
        prompt_tokens=prompt_tokens(recipe),
        extra_input=traits.handover_entry(t.handover).extra_input,
        extra_output=float(traits.thinking_tokens),
        samples_per_call=traits.most_samples,
        steps_done=steps_done,
        controls=controls,
    )


def prompt_tokens(recipe: Recipe) -> float:
    """The mean length of some of the recipe's problems, as the teacher sees them, in the student's tokens; counted once
    in a process."""
    return _mean_tokens(recipe.student.model, recipe.task, recipe.seed, recipe.teacher.shown)


def longest_prompt(recipe: Recipe) -> int | None:
    """The tokens of the longest of the recipe's first problems, as the student reads them; None where problems or
    tokenizer are not on this machine. Asks no network."""
    from huggingface_hub import try_to_load_from_cache

    task, place = recipe.task, resolve(recipe.student.model)
    if task.name not in _MADE_HERE and not Path(task.path or "/nowhere").exists():
        return None
    if not Path(place).is_dir():
        kept = try_to_load_from_cache(place, "tokenizer_config.json")
        if not isinstance(kept, str):
            return None
        place = str(Path(kept).parent)
    if not any((Path(place) / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        return None
    tokenizer = load_tokenizer(place)
    count = min(LOOKED_AT, task.prompts) if task.prompts else None
    found = build_task(recipe).prompts(task.train_split, count, recipe.seed)[:LOOKED_AT]
    return max((len(prompt_ids(tokenizer, prompt.messages)) for prompt in found), default=None)


@lru_cache(maxsize=64)
def _mean_tokens(student: str, task: TaskConfig, seed: int, sees: Sees) -> float:
    tokenizer = load_tokenizer(student)
    # A list of `task.prompts` may be short, and begins with the same problems as a longer one.
    count = min(_PROMPTS, task.prompts) if task.prompts else None
    found = build_task(Recipe(task=task)).prompts(task.train_split, count, seed)[:_PROMPTS]
    require_shown(found, sees, task.solution_column)
    return sum(about_tokens(tokenizer, p.messages, shown(sees, p).messages) for p in found) / max(1, len(found))
