"""Rows of a file or a data set as prompts, and what they lack. A fault is one DataError."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omniopd.config.sees import Sees
from omniopd.errors import DataError
from omniopd.models.text.conversation import conversation, excerpt, require_whole
from omniopd.models.text.shown import lacks
from omniopd.types import Prompt, Task, is_writable

_A_SLIP = 0.75  # so alike, a column's name is the wanted one, written wrong


def rows_as_prompts(
    rows: Sequence[Mapping[str, Any]],
    prompt_column: str,
    answer_column: str,
    id_prefix: str,
    place: str,
    instruction: str = "",
    answers: bool = True,
    solution_column: str = "",
) -> list[Prompt]:
    """One prompt a row; its id is `id_prefix`/row, counted from 1. Raises DataError naming `place` and the row.

    `answers`: every row must have one. Without, a row may lack it, and cannot be graded (`require_answers`). A row may
    lack its solution, too: who shows it asks for it (`require_shown`).
    """
    if not rows:
        raise DataError(f"{place} holds no rows: check the data set and the split")
    prompts = []
    for number, row in enumerate(rows, start=1):
        here = f"{place}, row {number}"
        require_row(row, here)
        messages = conversation(_column(row, prompt_column, here), here)
        if instruction:
            last = messages[-1]
            messages = (*messages[:-1], {**last, "content": f"{last['content']}\n{instruction}"})
        answer = _answer(row, answer_column, here, answers)
        prompts.append(Prompt(f"{id_prefix}/{number}", messages, answer, _solution(row, solution_column, here)))
    return prompts


def require_row(row: Any, here: str) -> None:
    """DataError for a row that is not an object."""
    if not isinstance(row, Mapping):
        raise DataError(f'{here} is a {type(row).__name__}, not an object: write it as {{"prompt": …, "answer": …}}')


def require_answers(task: Task, prompts: Iterable[Prompt], why: str) -> None:
    """DataError for the first prompt without an answer, where the task grades by answers; `why` says who wants them."""
    if getattr(task, "grades_by_answer", False):
        lacking = next((prompt for prompt in prompts if prompt.answer is None), None)
        if lacking is not None:
            raise DataError(
                f"prompt {lacking.id!r} has no answer, and {why} grades by it: give every row one "
                "(task.answer_column names the column), or measure on a split that has them (task.test_split)"
            )


def require_shown(prompts: Iterable[Prompt], sees: Sees, column: str) -> None:
    """DataError for the first prompt that lacks what a teacher is to see; `column` is that of the solutions."""
    lacking = next(((prompt, part) for prompt in prompts if (part := lacks(sees, prompt))), None)
    if lacking is None:
        return
    prompt, part = lacking
    row = f"row {prompt.id.rpartition('/')[2]} (prompt {prompt.id!r})"
    where = f" in column {column!r}" if part == "solution" and column else ""
    raise DataError(
        f"{row} has no {part}{where}, and the teacher is to see it: give every row one (task.{part}_column names the "
        f"column, for the tasks jsonl and math), or take {{{part}}} out of teacher.sees"
    )


def _solution(row: Mapping[str, Any], column: str, here: str) -> str | None:
    """A text as it is, a list of texts below each other; anything else is none."""
    if not column or row.get(column) is None:
        if column and _misspelt(column, row):
            raise DataError(
                f"{here} has no column {column!r}: {nearest(column, row)} (task.solution_column names the column)"
            )
        return None
    found = row[column]
    texts = found if isinstance(found, list) else [found]
    if not all(isinstance(text, str) for text in texts):
        return None
    solution = "\n\n".join(texts)
    return solution if solution.strip() and is_writable(solution) else None


def _answer(row: Mapping[str, Any], column: str, here: str, needed: bool) -> str | None:
    if not needed and row.get(column) is None and not _misspelt(column, row):
        return None
    answer = _column(row, column, here)
    is_number = isinstance(answer, int | float) and not isinstance(answer, bool) and math.isfinite(answer)
    if not is_number and not (isinstance(answer, str) and answer.strip()):
        raise DataError(
            f"{here}: column {column!r} is {excerpt(answer)}, which cannot be an answer: give a text or a number"
        )
    try:
        text = str(answer)
    except ValueError:  # more digits than Python writes
        raise DataError(f"{here}: column {column!r} is {excerpt(answer)}: give it as a text") from None
    require_whole(text, f"{here}: column {column!r}")
    return text


def _column(row: Mapping[str, Any], column: str, here: str) -> Any:
    if column not in row:
        raise DataError(
            f"{here} has no column {column!r}: {nearest(column, row)} "
            "(task.prompt_column and task.answer_column name the columns)"
        )
    return row[column]


def _misspelt(column: str, row: Mapping[str, Any]) -> bool:
    names = [str(name).lower() for name in row]
    return column not in row and bool(difflib.get_close_matches(column.lower(), names, 1, _A_SLIP))


def nearest(wanted: str, present: Iterable[str]) -> str:
    """What there is instead of a name, the most alike first."""
    present = [str(name) for name in present]
    near = difflib.get_close_matches(wanted.lower(), [name.lower() for name in present], n=1, cutoff=0.5)
    guess = next((f"did you mean {name!r}? " for name in present if near and name.lower() == near[0]), "")
    return f"{guess}There is {', '.join(map(repr, present)) or 'nothing'}"
