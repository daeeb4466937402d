"""What every task whose problems end in one answer does with a response."""

from __future__ import annotations

from omniopd.errors import DataError
from omniopd.tasks.grading import final_answer, grade
from omniopd.types import Prompt


class GradesFinalAnswer:
    """The part of a task that compares a response's final answer with the prompt's own (`grading.py`)."""

    __slots__ = ()

    def grade(self, prompt: Prompt, response: str) -> bool:
        """Whether the response's final answer is the prompt's. Raises DataError for a prompt without one."""
        if prompt.answer is None:
            raise DataError(f"prompt {prompt.id!r} has no answer to grade with: take prompts from the task itself")
        return grade(response, prompt.answer)

    def readable(self, prompt: Prompt, response: str) -> bool:
        """Whether the grader finds an answer in the response, right or wrong."""
        return bool(final_answer(response))
