"""Who is asked while a student is trained."""

from __future__ import annotations

import copy
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.errors import ConfigError
from omniopd.method.controls import CONTROLS
from omniopd.method.tensors import permutations
from omniopd.teachers.cache.identity import sampling_of
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.privileged import OtherContext
from omniopd.teachers.registry import teacher_named
from omniopd.training.rollouts import as_prompts
from omniopd.training.trl.seeding import generator_for
from omniopd.types import Teacher


def resolve_teacher(
    teacher: Teacher | str,
    control: str,
    reference: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Any = (),
    seed: int = 0,
) -> Teacher:
    """The teacher that was given, by itself or by its name; under the control `self_teacher` a copy of `reference`, the
    student as it is now and without what that teacher sees more, sampled as it is: cooled texts sharpen a student by
    themselves, which only a control that is cooled alike can show. Under `other_context` it is shown the solutions of
    other `rows`. Raises ConfigError for what is neither."""
    if CONTROLS[control].asks_student:
        return LocalTeacher(copy.deepcopy(reference).eval(), tokenizer, name="self", **sampling_of(teacher))
    if isinstance(teacher, str):
        teacher = teacher_named(teacher)
    if not isinstance(teacher, Teacher):
        raise ConfigError(
            f"teacher is a {type(teacher).__name__}: give a Teacher (it has continue_from) or a model's name"
        )
    if not CONTROLS[control].shows_others:
        return teacher
    if not hasattr(rows, "__len__"):
        raise ConfigError(f'control is "{control}" and the training data is a stream: give rows that can be counted')
    return OtherContext(teacher, as_prompts([*rows]), permutations(generator_for(control, seed, 0)))
