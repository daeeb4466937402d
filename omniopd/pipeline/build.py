"""Where names in a recipe become objects: prompts, student, teacher. (Tasks: `tasks/registry.py`; trainers: `methods`.)

A model's name is `embedded:student` or `embedded:teacher`, a folder, or an id on the Hugging Face hub (a teacher's with
`local:` before it, since a bare name means a model behind an API, as litellm writes it). Knows nothing of runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from omniopd.config import METHODS, Recipe
from omniopd.errors import ConfigError
from omniopd.evaluation.evaluate import PROBLEM_SEED
from omniopd.io import processes
from omniopd.models.architecture.reading import way_of
from omniopd.models.four_bits import require_bitsandbytes
from omniopd.models.loading import check_folder, config_of, load_model, load_tokenizer, resolve
from omniopd.tasks.build import build_task
from omniopd.tasks.rows import require_shown
from omniopd.teachers.access.contact import first_contact
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.model_traits import LOCAL, runs_here, traits_of
from omniopd.training.devices import device_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from omniopd.teachers.handover.template import ChatTemplate
    from omniopd.teachers.hosted.teacher import HostedTeacher
    from omniopd.types import Prompt, Teacher

ANSWERS = "teacher_answers.sqlite"


@dataclass(frozen=True, slots=True, eq=False)
class LocalModel:
    """A network that runs here, with its tokenizer; `name` is the recipe's."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def build_student(recipe: Recipe) -> LocalModel:
    """The untrained student with its tokenizer, on the recipe's device. Raises ConfigError for what cannot load."""
    student = recipe.student
    return _loaded("student.model", student.model, student.dtype, recipe, packed_for(recipe))


def load_student(recipe: Recipe, folder: Path) -> PreTrainedModel:
    """A trained student out of its run's folder, an adapter on the very weights that it was trained on. Raises
    ConfigError."""
    return load_model(str(folder), recipe.student.dtype, device_of(recipe), packed_for(recipe))


def build_teacher_model(recipe: Recipe) -> LocalModel | None:
    """The teacher's network where it runs here, else None (a model behind an API shows only texts)."""
    name = recipe.teacher.model
    if not runs_here(name):
        return None
    return _loaded("teacher.model", name.removeprefix(LOCAL), recipe.teacher.dtype, recipe)


def is_one_checkpoint(recipe: Recipe) -> bool:
    """Whether student and teacher are the same model, loaded alike."""
    teacher, student = recipe.teacher, recipe.student
    if student.load_in_4bit or not runs_here(teacher.model):
        return False
    return (resolve(teacher.model.removeprefix(LOCAL)), teacher.dtype) == (
        resolve(student.model), student.dtype
    )  # fmt: skip


def build_teacher(recipe: Recipe, local: LocalModel | None = None, folder: Path | None = None) -> Teacher:
    """Who continues the student's texts; `local` is its network, if it is loaded already.

    One behind an API keeps its answers and its ledger in `folder`, where it has one. Raises ConfigError.
    """
    local = local or build_teacher_model(recipe)
    if local is None:
        return _behind_an_api(recipe, folder)
    way_of(local.model)  # one that cannot continue a text is told of here
    return seeing_more(recipe, local_teacher(recipe, local, _student_thinks(recipe)))


def seeing_more(recipe: Recipe, teacher: Teacher) -> Teacher:
    """The teacher with what the recipe shows it alone (`teacher.sees`, `teacher.system`), unless it sees that already;
    itself where the recipe shows it nothing more than the student."""
    from omniopd.teachers.privileged import PrivilegedTeacher, sees_more

    t = recipe.teacher
    return PrivilegedTeacher(teacher, t.sees, t.system) if t.shown and not sees_more(teacher) else teacher


def local_teacher(recipe: Recipe, local: LocalModel, student_thinks: bool | None = None) -> LocalTeacher:
    """A network that runs here as the recipe's teacher."""
    teacher = recipe.teacher
    return LocalTeacher(
        local.model,
        local.tokenizer,
        temperature=teacher.temperature,
        top_p=teacher.top_p,
        batch_tokens=teacher.batch_tokens,
        name=local.name,
        student_thinks=student_thinks,
    )


def build_hosted_teacher(recipe: Recipe) -> HostedTeacher:
    """The teacher behind an API alone: no cache, no budget. Raises ConfigError for a name that litellm cannot reach."""
    from omniopd.teachers.hosted.teacher import HostedTeacher
    from omniopd.teachers.registry import require_reachable
    from omniopd.teachers.spending.prices import price_for

    t = recipe.teacher
    require_reachable(t.model, t.api_base)
    return HostedTeacher(
        t.model,
        temperature=t.temperature,
        top_p=t.top_p,
        handover=t.handover,
        template=_template(recipe),
        student_thinks=_student_thinks(recipe),
        api_base=t.api_base or None,
        key_variable=t.key_variable or None,
        concurrency=t.concurrency,
        call_timeout_s=t.call_timeout_s,
        batch_deadline_s=t.batch_deadline_s,
        requests_per_minute=t.requests_per_minute,
        tokens_per_minute=t.tokens_per_minute,
        strict=t.strict,
        price=price_for(t),
        stream=t.stream,
        parted_costs=t.parted_costs,
    )


def require_teacher(recipe: Recipe) -> None:
    """What can be known of the recipe's teacher in seconds. Raises ConfigError and TeacherError for one that nobody can
    ask: no such folder, no key, nobody there."""
    t, reads = recipe.teacher, METHODS[recipe.method].reads
    if runs_here(t.model):
        if reads != "nothing":
            require_model("teacher.model", t.model.removeprefix(LOCAL))
    elif reads == "texts":
        made = build_hosted_teacher(recipe)
        if not t.replay:
            first_contact(t.model, made.api_base or "", t.key_variable, made.handover.completes)


def require_model(key: str, name: str) -> None:
    """Raises ConfigError, which names the setting, where no model of this name can be loaded: looks at its folder, its
    tokenizer and its configuration, and loads no weights."""
    try:
        check_folder(name, resolve(name))
        load_tokenizer(name)
        config_of(name)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


def build_prompts(recipe: Recipe) -> list[Prompt]:
    """The prompts to practise on: `task.prompts` of them (0: all), drawn by the run's seed."""
    prompts = build_task(recipe).prompts(recipe.task.train_split, recipe.task.prompts or None, recipe.seed)
    return _with_what_is_shown(recipe, prompts)


def build_probes(recipe: Recipe) -> list[Prompt]:
    """The first `training.probe_prompts` of the held-out problems that evaluations take."""
    count = recipe.training.probe_prompts
    if not count:
        return []
    return _with_what_is_shown(recipe, build_task(recipe).prompts(recipe.task.test_split, count, PROBLEM_SEED))


def _with_what_is_shown(recipe: Recipe, prompts: list[Prompt]) -> list[Prompt]:
    """The prompts, if they have what the recipe's teacher is to see; without solutions where it sees none."""
    sees = recipe.teacher.shown
    if METHODS[recipe.method].reads == "texts":
        require_shown(prompts, sees, recipe.task.solution_column)
        if "solution" in sees.needs:
            return prompts
    return [replace(prompt, solution=None) for prompt in prompts]


def _behind_an_api(recipe: Recipe, folder: Path | None) -> Teacher:
    from omniopd.teachers.cache.cached import CachedTeacher
    from omniopd.teachers.spending.budget import BudgetedTeacher
    from omniopd.teachers.spending.ledger import FILE

    t = recipe.teacher
    teacher = seeing_more(recipe, build_hosted_teacher(recipe))
    if not processes.is_main():
        return teacher  # which only the main process asks: there is one memory, and one budget
    file = Path(t.cache) if t.cache else folder / ANSWERS if folder is not None else None
    if file is not None and t.cache != "none":
        teacher = CachedTeacher(teacher, file, "replay" if t.replay else "record")
    if t.budget_usd or folder is not None:
        limit, ledger = t.budget_usd or math.inf, None if folder is None else folder / FILE
        teacher = BudgetedTeacher(teacher, limit, ledger, t.allow_unknown_price or not t.budget_usd)
    return teacher


def _template(recipe: Recipe) -> ChatTemplate | None:
    """The chat template of a served model that gets raw prompts, or whose tokenizer is named."""
    from omniopd.teachers.handover.template import ChatTemplate

    model = recipe.teacher.model
    if not traits_of(model).handover_entry(recipe.teacher.handover).completes and not recipe.teacher.tokenizer:
        return None
    name = recipe.teacher.tokenizer or model.partition("/")[2]
    try:
        return ChatTemplate(load_tokenizer(name), _student_thinks(recipe))
    except ConfigError as error:
        raise ConfigError(
            f"teacher.model is {model!r}, whose raw prompts are written with its own chat template, and "
            f"teacher.tokenizer is {recipe.teacher.tokenizer!r}: {error}"
        ) from error


def _student_thinks(recipe: Recipe) -> bool:
    """Whether the student's own chat template opens a thought before the student writes."""
    from omniopd.models.text.rendering import rendered
    from omniopd.teachers.handover.thinking import opens_thought

    tokenizer = load_tokenizer(recipe.student.model)
    if tokenizer.chat_template is None:
        return False
    question = [{"role": "user", "content": "?"}]
    return opens_thought(rendered(tokenizer, question))


def packed_for(recipe: Recipe) -> str:
    """What products of a student in 4 bits are computed in, since autocast does not reach them; "" of a whole one.
    Raises ConfigError where bitsandbytes is not installed."""
    if not recipe.student.load_in_4bit:
        return ""
    require_bitsandbytes("student.load_in_4bit is true", "set student.load_in_4bit=false")
    return recipe.training.precision


def _loaded(key: str, name: str, dtype: str, recipe: Recipe, packed: str = "") -> LocalModel:
    try:
        return LocalModel(name, load_model(name, dtype, device_of(recipe), packed), load_tokenizer(name))
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error
