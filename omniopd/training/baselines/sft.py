"""Supervised fine-tuning on the teacher's own answers: the baseline that needs no student samples. TRL's `SFTTrainer`.

Prompts are answered before the first step, and every answer is seen `training.passes` times: a step learns from as many
answers as OmniOPD's has rollouts. Answers become tokens here, so that no special token is read out of a text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from omniopd.errors import TeacherError
from omniopd.io.processes import on_main
from omniopd.models.text.chat import prompt_ids, text_ids
from omniopd.teachers.asking import ask
from omniopd.teachers.checks.context import check_shown
from omniopd.teachers.handover.thinking import ends_in_open_thought
from omniopd.training.arguments import run_settings
from omniopd.training.baselines.step_log import StepLog
from omniopd.training.checks.architecture import check_architecture
from omniopd.training.parts import TrainerParts
from omniopd.training.trl.atomic_checkpoints import AtomicCheckpointMixin
from omniopd.training.trl.learning import LearnsSomething
from omniopd.training.trl.token_means import TokenMeans
from omniopd.types import ContinuationRequest, Prompt, Teacher, Usage

if TYPE_CHECKING:
    from datasets import Dataset

class TeacherAnswersTrainer(TokenMeans, LearnsSomething, AtomicCheckpointMixin, SFTTrainer):
    """TRL's `SFTTrainer` with whole checkpoints."""

    _name = "SFT on teacher answers"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_architecture(self.model, generates=False)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        self.refuse_idle(logs)


def build(parts: TrainerParts) -> TeacherAnswersTrainer:
    recipe = parts.recipe
    answers = math.ceil(recipe.training.steps * recipe.training.rollouts / recipe.training.passes)
    longest = recipe.student.max_tokens
    check_shown(parts.teacher, parts.prompts[:answers], parts.tokenizer, longest)
    rows, asked = on_main(
        lambda: teacher_answers(parts.prompts, parts.teacher, parts.tokenizer, answers, longest, recipe.seed)
    )
    args = SFTConfig(**run_settings(recipe, parts.output), max_length=None, packing=False)
    callbacks = [StepLog(parts.recorder, asked)]
    return TeacherAnswersTrainer(args=args, train_dataset=rows, callbacks=callbacks, **parts.student)


def teacher_answers(
    prompts: Sequence[Prompt],
    teacher: Teacher,
    tokenizer: PreTrainedTokenizerBase,
    answers: int,
    max_tokens: int,
    seed: int = 0,
) -> tuple[Dataset, Usage]:
    """`answers` answers of the teacher, round the prompts in turn, as rows `input_ids` and `labels`; and their price.

    An answer that ended by itself closes with the end-of-turn token, one that was cut does not. Raises TeacherError
    where the teacher leaves a prompt without an answer.
    """
    from datasets import Dataset

    thinks = [ends_in_open_thought(tokenizer, prompt_ids(tokenizer, prompt.messages)) for prompt in prompts]
    asked = [
        ContinuationRequest(
            prompts[i % len(prompts)], "", 1, max_tokens, first_sample=i // len(prompts), seed=seed,
            in_thought=thinks[i % len(prompts)],
        )
        for i in range(answers)
    ]  # fmt: skip
    usage, rows = Usage(), []
    for request, answer in zip(asked, ask(teacher, asked), strict=True):
        usage += answer.usage
        if answer.problem is not None or not answer.texts:
            raise TeacherError(
                f"the teacher left prompt {request.prompt.id!r} without an answer "
                f"({answer.problem or 'no text'}): run again, or take the prompt out"
            )
        before = prompt_ids(tokenizer, request.prompt.messages)
        after = text_ids(tokenizer, answer.texts[0])
        if answer.stopped and answer.stopped[0] and tokenizer.eos_token_id is not None:
            after = [*after, tokenizer.eos_token_id]
        rows.append({"input_ids": [*before, *after], "labels": [-100] * len(before) + list(after)})
    return Dataset.from_list(rows), usage
