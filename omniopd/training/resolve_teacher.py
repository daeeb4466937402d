"""Who is asked while a student is trained."""

from __future__ import annotations

import copy

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.errors import ConfigError
from omniopd.method.controls import CONTROLS
from omniopd.teachers.cache.identity import sampling_of
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.registry import teacher_named
from omniopd.types import Teacher


def resolve_teacher(
    teacher: Teacher | str, control: str, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Teacher:
    """The teacher that was given, by itself or by its name; under the control `self_teacher` a copy of `reference`, the
    student as it is now, sampled as that teacher is: cooled texts sharpen a student by themselves, which only a control
    that is cooled alike can show. Raises ConfigError for what is neither."""
    if CONTROLS[control].asks_student:
        return LocalTeacher(copy.deepcopy(reference).eval(), tokenizer, name="self", **sampling_of(teacher))
    if isinstance(teacher, str):
        return teacher_named(teacher)
    if not isinstance(teacher, Teacher):
        raise ConfigError(
            f"teacher is a {type(teacher).__name__}: give a Teacher (it has continue_from) or a model's name"
        )
    return teacher

