"""Whether a teacher that sees more than the student can be shown its prompts: before the first step, with numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from omniopd.errors import ConfigError, DataError
from omniopd.models.decoding import context_length
from omniopd.models.text.chat import about_tokens, prompt_ids
from omniopd.models.text.rendering import rendered
from omniopd.teachers.cache.identity import layers, tokenizer_of
from omniopd.teachers.privileged import as_shown, sees_more
from omniopd.teachers.spending.prices import context_of
from omniopd.types import Prompt


def check_shown(
    teacher: object,
    prompts: Sequence[Prompt],
    student: PreTrainedTokenizerBase,
    answer_tokens: int,
    tokens_per_student_token: float = 1.0,
) -> None:
    """DataError for the first prompt that lacks what the teacher is to see, that its chat template refuses, or that
    with an answer is longer than the teacher's context; ConfigError where the template leaves the system text out.

    Where the teacher's tokenizer is not at hand, the student's counts instead, without rendering what is shown; where
    its context is not known, nothing is compared. A teacher that sees what the student sees is not looked at.
    """
    if not sees_more(teacher):
        return
    *_, innermost = layers(teacher)
    context, own = _context(innermost), tokenizer_of(teacher)  # type: ignore[arg-type]
    room = answer_tokens if own is None else round(answer_tokens * tokens_per_student_token)
    for number, prompt in enumerate(prompts):
        shown = as_shown(teacher, prompt)
        if own is not None and not number:
            _check_system(own, shown)
        try:
            length = (
                about_tokens(student, prompt.messages, shown.messages) if own is None
                else len(prompt_ids(own, shown.messages))
            )  # fmt: skip
        except DataError as error:
            raise DataError(f"prompt {prompt.id!r} cannot be shown to the teacher: {error}") from error
        if context is not None and length + room > context:
            about = "" if own is not None else "about "
            raise DataError(
                f"prompt {prompt.id!r} has {about}{length} tokens as the teacher sees it, with answers of {room} more "
                f"than the teacher's context ({context}): shorten what it sees (teacher.sees, teacher.system), drop "
                "the row, or lower student.max_tokens"
            )


def _context(teacher: Any) -> int | None:
    """How much the model at the bottom can read; None where nobody says."""
    model = getattr(teacher, "model", None)
    if isinstance(model, str):
        return context_of(model)
    return None if model is None else context_length(model)


def _check_system(tokenizer: PreTrainedTokenizerBase, shown: Prompt) -> None:
    first = shown.messages[0]
    if first["role"] != "system":
        return
    try:
        written = rendered(tokenizer, shown.messages)
    except TemplateError:
        return  # said with the prompt's name
    if first["content"].strip() not in written:
        raise ConfigError(
            f"the chat template of {tokenizer.name_or_path or 'the teacher'!r} leaves a system message out, so that "
            "the teacher would not see teacher.system: write that text into teacher.sees, before {question}"
        )
