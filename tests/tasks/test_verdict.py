"""A recorded answer knows whether it is right."""

from __future__ import annotations

import pytest

from omniopd import embedded
from omniopd.records import RolloutRecord, read_record, record_json
from omniopd.tasks.verdict import graded


@pytest.mark.parametrize(("said", "right"), [("#### 29", True), ("#### 31", False), ("29", False)])
def test_the_graders_word_is_in_the_record(said: str, right: bool) -> None:
    messages = ({"role": "user", "content": "How many?"},)
    record = RolloutRecord(0, 1, "p", messages, tuple(said), (0.0,) * len(said), (0.0,) * len(said), answer="29")
    judged = graded(embedded().task, record)
    assert judged.right is right
    assert read_record(record_json(judged)) == judged


def test_what_has_no_answer_is_not_graded() -> None:
    record = RolloutRecord(0, 1, "own", (), ("a",), (0.0,), (0.0,))
    assert graded(embedded().task, record) is record
