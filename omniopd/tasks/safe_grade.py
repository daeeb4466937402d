"""Grading that survives a grader's error: the answer counts as wrong, and the reason is kept."""

from __future__ import annotations

from omniopd.errors import OmniOPDError
from omniopd.types import Prompt, Task

LONGEST_REASON = 200  # characters of a grader's error


def safe_grade(task: Task, prompt: Prompt, response: str) -> tuple[bool, str]:
    """Whether a response is right, and why the grader threw, if it did. Errors raised on purpose are the caller's."""
    try:
        return bool(task.grade(prompt, response)), ""
    except OmniOPDError:
        raise
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"[:LONGEST_REASON]
