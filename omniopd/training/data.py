"""The rows that a trainer is given, as the data set that TRL takes, each of them a question. Knows no tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

from omniopd.errors import DataError
from omniopd.models.text.conversation import conversation
from omniopd.tasks.rows import nearest, require_row
from omniopd.types import Prompt

if TYPE_CHECKING:
    from datasets import Dataset

PLACE = "the training data"


def as_dataset(rows: Any) -> Any:
    """A data set of `datasets` as it is; rows in Python (a list, or any iterable, of dicts) as one. Raises DataError.

    A row has a `prompt`, a text or chat messages; `id` and `answer` travel into the records, a `solution` to a teacher.
    """
    if rows is None or hasattr(rows, "column_names"):
        return rows
    if isinstance(rows, Sized) and hasattr(rows, "__getitem__") and not isinstance(rows, Iterable):
        rows = [rows[place] for place in range(len(rows))]  # a data set of torch's
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise DataError(f'{PLACE} is a {type(rows).__name__}: give rows, such as [{{"prompt": "What is 1 + 1?"}}]')
    from datasets import Dataset

    found = []
    for number, row in enumerate(rows, start=1):
        require_row(row, f"{PLACE}, row {number}")
        if "prompt" not in row:
            raise DataError(f"{PLACE}, row {number} has no column 'prompt': {nearest('prompt', row)}")
        messages = conversation(row["prompt"], named(row, number))
        prompt = row["prompt"] if isinstance(row["prompt"], str) else list(messages)
        texts = {name: str(row[name]) for name in ("id", "answer", "solution") if row.get(name) is not None}
        found.append({"prompt": prompt, **texts})
    if not found:
        raise DataError(f'{PLACE} holds no rows: give some, such as [{{"prompt": "What is 1 + 1?"}}]')
    if len({isinstance(row["prompt"], str) for row in found}) > 1:
        raise DataError(f"{PLACE} holds texts and chats: give every prompt in one of the two forms")
    return Dataset.from_list([{name: row.get(name) for name in _columns(found)} for row in found])


def as_rows(prompts: Sequence[Prompt]) -> Dataset:
    """Prompts as rows, with ids, answers and the solutions that there are."""
    from datasets import Dataset

    rows = [{"prompt": list(p.messages), "id": p.id, "answer": p.answer, "solution": p.solution} for p in prompts]
    return Dataset.from_list([{name: row[name] for name in _columns(rows)} for row in rows])


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    solved = any(row.get("solution") is not None for row in rows)
    return ("prompt", "id", "answer", *(["solution"] if solved else []))


def named(row: Mapping[str, Any], number: int) -> str:
    """What an error calls a row: by the id of its prompt, which names file and row, where it has one."""
    name = row.get("id")
    return f"{PLACE}, row {number}" if name is None else f"prompt {str(name)!r}"
