"""Whether a recorded answer is right, as its task's grader says."""

from __future__ import annotations

from dataclasses import replace

from omniopd.records import RolloutRecord
from omniopd.tasks.safe_grade import safe_grade
from omniopd.types import Prompt, Task


def graded(task: Task, record: RolloutRecord) -> RolloutRecord:
    """The record with `right`; as it is where its question has no answer to compare with."""
    if record.answer is None:
        return record
    prompt = Prompt(record.prompt_id, tuple(map(dict, record.messages)), record.answer)
    return replace(record, right=safe_grade(task, prompt, "".join(record.pieces))[0])
