"""A recipe's `method` as a trainer: OmniOPD, or a baseline on the same data, settings, records and checkpoints.

Which methods there are and what each reads of a teacher says `config/methods.py`. Knows no files of a run: records go
to a recorder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniopd.config import METHODS, Recipe, check
from omniopd.errors import ConfigError
from omniopd.pipeline.build import (
    LocalModel,
    build_probes,
    build_prompts,
    build_student,
    build_task,
    build_teacher,
    build_teacher_model,
    local_teacher,
    seeing_more,
)
from omniopd.teachers.model_traits import EMBEDDED, LOCAL

if TYPE_CHECKING:
    from transformers import Trainer

    from omniopd.teachers.local import LocalTeacher
    from omniopd.training.recording import Recorder
    from omniopd.types import Teacher


def build_trainer(
    recipe: Recipe,
    output: Path,
    recorder: Recorder | None = None,
    student: LocalModel | None = None,
    teacher: LocalModel | Teacher | None = None,
    callbacks: Sequence[Any] = (),
) -> Trainer:
    """The trainer of a recipe's `method`.

    `output` is where checkpoints go. What is loaded already may be passed. Raises ConfigError and DataError for what
    cannot work, before anything is trained.
    """
    from transformers import PrinterCallback

    from omniopd.training.checks.architecture import check_architecture
    from omniopd.training.parts import TrainerParts

    method = METHODS[check(recipe).method]
    student = student or build_student(recipe)
    check_architecture(student.model)
    parts = TrainerParts(
        recipe,
        output,
        student.model,
        student.tokenizer,
        build_task(recipe),
        build_prompts(recipe),
        _teacher_for(recipe, student, teacher),
        recorder,
        build_probes(recipe) if recorder is not None else (),
    )
    trainer: Any = method.build(parts)
    trainer.keep_checkpoints = recipe.training.keep
    trainer.allow_zero_gradient = recipe.training.allow_zero_gradient
    for callback in callbacks:
        trainer.add_callback(callback)
    # It prints every log; the records hold them, and a progress line shows them.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _teacher_for(recipe: Recipe, student: LocalModel, given: LocalModel | Teacher | None) -> Teacher | None:
    """What the recipe's method reads."""
    reads = METHODS[recipe.method].reads
    if reads == "nothing":
        return None
    if reads == "logits":
        return _with_logits(recipe, student, given if isinstance(given, LocalModel) else build_teacher_model(recipe))
    if given is None or isinstance(given, LocalModel):
        return build_teacher(recipe, given)
    return seeing_more(recipe, given)


def _with_logits(recipe: Recipe, student: LocalModel, local: LocalModel | None) -> LocalTeacher:
    if local is None:
        raise ConfigError(
            f'method is "{recipe.method}" and teacher.model is {recipe.teacher.model!r}: its logits are '
            f"needed, so give a teacher that runs here ({EMBEDDED}teacher, a folder, or {LOCAL}<id on the hub>)"
        )
    if local.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        raise ConfigError(
            f'method is "{recipe.method}", and {local.name} has another vocabulary than {student.name}: '
            "its logits would speak of other tokens; give a teacher of the student's family, or a method that "
            'reads texts ("omniopd")'
        )
    return local_teacher(recipe, local)
