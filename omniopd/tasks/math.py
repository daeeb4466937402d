r"""Competition mathematics: MATH-500, AIME 2024 and 2025, AMC 2023, OlympiadBench, or a file of one of their shapes.

    HuggingFaceH4/MATH-500       test, 500 rows     problem, solution, answer, subject, level, unique_id
    HuggingFaceH4/aime_2024      train, 30 rows     id, problem, solution, answer, url, year
    math-ai/aime25               test, 30 rows      problem, answer, id
    math-ai/amc23                test, 40 rows      id, question, answer (a number), url
    Hothan/OlympiadBench         train, 674 rows    id, question, solution, final_answer (a list), context, unit, error,
      OE_TO_maths_en_COMP                           answer_type, is_multiple_answer, …: open-ended, text only, English

(From the data sets' cards and viewers.) An answer of OlympiadBench is a list whose parts may hold several values of
their own; all count, in any order. `unit` stands beside the answer, which a response may give with it or without.

They are for measuring: a student that is trained on them is not measured by them. Graded by math-verify
(`grading.grade`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniopd.config import TaskConfig
from omniopd.errors import DataError
from omniopd.tasks.final_answer import GradesFinalAnswer
from omniopd.tasks.jsonl import draw
from omniopd.tasks.rows import rows_as_prompts
from omniopd.tasks.sources import Rows, rows_of
from omniopd.types import Prompt

INSTRUCTION = r"Think step by step, and put the final answer into \boxed{}."


@dataclass(frozen=True, slots=True)
class Source:
    """A data set on the hub; its one split there is called "test" here."""

    dataset: str
    split: str
    question: str
    answer: str
    config: str | None = None


SOURCES = {
    "math500": Source("HuggingFaceH4/MATH-500", "test", "problem", "answer"),
    "aime2024": Source("HuggingFaceH4/aime_2024", "train", "problem", "answer"),
    "aime2025": Source("math-ai/aime25", "test", "problem", "answer"),
    "amc23": Source("math-ai/amc23", "test", "question", "answer"),
    "olympiadbench": Source("Hothan/OlympiadBench", "train", "question", "final_answer", "OE_TO_maths_en_COMP"),
}
QUESTIONS, ANSWERS = ("problem", "question", "Problem"), ("final_answer", "answer", "Answer")


@dataclass(frozen=True, slots=True)
class Mathematics(GradesFinalAnswer):
    """Problems with a final answer. `source` is a name of `SOURCES`, a local copy (JSON lines, parquet, a folder; see
    `sources.py`), or another data set's id, of which `config` is the part; its question stands in "problem" or
    "question", its answer in "answer" or "final_answer" (a text, a number, or a list of them). Raises DataError on
    first use.
    """

    source: str | Path = "math500"
    instruction: str = INSTRUCTION
    name: str = "math"
    config: str | None = None
    solution_column: str = "solution"

    def prompts(self, split: str, count: int | None = None, seed: int = 0) -> list[Prompt]:
        """`count` prompts of a split in a seeded order (None: all); a longer list begins with the shorter one."""
        rows, place, question, answer = self._rows(split)
        plain = [{**row, answer: _joined(row[answer])} if answer in row else row for row in rows]
        label = f"{Path(self.source).stem if str(self.source) not in SOURCES else self.source}/{split}"
        solution = self.solution_column if any(self.solution_column in row for row in plain) else ""
        made = rows_as_prompts(plain, question, answer, label, place, self.instruction, solution_column=solution)
        return draw(made, count, seed, place)

    def _rows(self, split: str) -> tuple[Rows, str, str, str]:
        known = SOURCES.get(str(self.source))
        if known is not None:
            if split != "test":
                raise DataError(
                    f"{self.source} is for measuring and has the split 'test' alone, not {split!r}: "
                    "train on other problems"
                )
            rows, place = rows_of(known.dataset, known.split, known.config)
            return rows, place, known.question, known.answer
        try:
            rows, place = rows_of(self.source, split, self.config)
        except DataError as error:
            near = difflib.get_close_matches(str(self.source), SOURCES, 1)
            raise DataError(
                f"{error} (known names: {', '.join(SOURCES)}{f'; did you mean {near[0]!r}?' if near else ''})"
            ) from error
        return rows, place, _first(rows, QUESTIONS), _first(rows, ANSWERS)


def build(settings: TaskConfig) -> Mathematics:
    source, instruction = settings.path or "math500", settings.instruction or INSTRUCTION
    column = settings.solution_column or "solution"
    return Mathematics(source, instruction, config=settings.subset or None, solution_column=column)


def _first(rows: Rows, names: tuple[str, ...]) -> str:
    """The name that the first row has; else the first name, for the error that says which column is missing."""
    present: Mapping[str, Any] = rows[0] if len(rows) else {}
    return next((name for name in names if name in present), names[0])


def _joined(answer: Any) -> Any:
    """Several answers are one list of answers, in any order. A part may be several formulas, each between its own $."""
    return ", ".join(str(part).replace("$", "").strip() for part in answer) if isinstance(answer, list) else answer
