"""Any problems of your own: JSON lines with a prompt column and an answer column.

    {"prompt": "What is 12 * 12?", "answer": "144"}

A prompt is a string, which becomes one user message, or a list of chat messages. Answers are graded by `grading.grade`;
rows without one serve where nothing is graded. Whatever is wrong with a file is one `DataError`.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from omniopd.config import TaskConfig
from omniopd.errors import ConfigError, DataError
from omniopd.tasks.final_answer import GradesFinalAnswer
from omniopd.tasks.rows import nearest, rows_as_prompts
from omniopd.types import Prompt


@dataclass(frozen=True, slots=True)
class Jsonl(GradesFinalAnswer):
    """Problems from a file, or from a folder with one ``<split>.jsonl`` for each split.

    A single file is divided: the share `held_out` of its questions is the split "test", the others are "train". A hash
    of the question decides, so that the two never share one and adding rows moves few. Raises DataError on first use.
    """

    path: str | Path
    prompt_column: str = "prompt"
    answer_column: str = "answer"
    held_out: float = 0.1
    instruction: str = ""  # appended to the last user message
    name: str = "jsonl"
    solution_column: str = ""  # of the worked solution; "": none
    grades_by_answer: ClassVar[bool] = True

    def prompts(self, split: str, count: int | None = None, seed: int = 0) -> list[Prompt]:
        """`count` prompts of a split in a seeded order (None: all); a longer list begins with the shorter one."""
        path = Path(self.path)
        if path.is_dir():
            file = split_file(path, split)
            return draw(self._read(file), count, seed, f"split {split!r} of {file}")
        return draw(self._divided(split), count, seed, f"split {split!r} of {path}")

    def _read(self, file: Path) -> list[Prompt]:
        columns = self.prompt_column, self.answer_column
        return rows_as_prompts(
            read_rows(file), *columns, f"{self.name}/{file.stem}", str(file), self.instruction, answers=False,
            solution_column=self.solution_column,
        )  # fmt: skip

    def _divided(self, split: str) -> list[Prompt]:
        if split not in ("train", "test"):
            raise DataError(
                f"{self.path} is one file, divided into 'train' and 'test', and has no split {split!r}: "
                f"ask for one of these, or give a folder that holds {split}.jsonl"
            )
        everything = self._read(Path(self.path))
        order = sorted({_digest(prompt) for prompt in everything})
        test = set(order[: math.ceil(self.held_out * len(order))])
        return [prompt for prompt in everything if (_digest(prompt) in test) == (split == "test")]


def build(settings: TaskConfig) -> Jsonl:
    """The task of a recipe. Raises ConfigError without a path."""
    if not settings.path:
        raise ConfigError('task.path is empty: a "jsonl" task needs a file or a folder: task.path=problems.jsonl')
    s = settings
    return Jsonl(
        s.path, s.prompt_column, s.answer_column, instruction=s.instruction, solution_column=s.solution_column
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file; empty lines are skipped. Raises DataError with file and line number."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as problem:
        raise DataError(f"cannot read {path} ({problem.strerror}): check the path") from problem
    except UnicodeDecodeError as problem:
        number = problem.object.count(b"\n", 0, problem.start) + 1
        raise DataError(
            f"{path}, line {number} is not UTF-8 (byte {problem.object[problem.start]:#04x}): save the file as UTF-8"
        ) from problem
    rows = []
    # Only \n ends a row: str.splitlines would also cut at U+2028, which JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as problem:  # also a number of more digits than Python reads
            raise DataError(f"{path}, line {number} is not JSON ({problem}): write one JSON object a line") from problem
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, line {number} is a JSON {type(row).__name__}, not an object: "
                'write it as {"prompt": …, "answer": …}'
            )
        rows.append(row)
    if not rows:
        raise DataError(f"{path} holds no rows: give a file with one JSON object a line")
    return rows


def draw(prompts: Sequence[Prompt], count: int | None, seed: int, place: str) -> list[Prompt]:
    """The first `count` of the seeded order of `prompts`; raises DataError if there are fewer."""
    if count is not None and not 0 < count <= len(prompts):
        fitting = f"ask for 1 to {len(prompts)} (task.prompts, evaluation.problems)"
        way_out = fitting if prompts else "give one with rows"
        raise DataError(f"{count} prompts were asked of {place}, which has {len(prompts)}: {way_out}")
    shuffled = list(prompts)
    random.Random(seed).shuffle(shuffled)
    return shuffled[:count]


def split_file(folder: Path, split: str) -> Path:
    """``<split>.jsonl`` in a folder; raises DataError with the splits that there are."""
    file = folder / f"{split}.jsonl"
    if not file.is_file():
        splits = sorted(path.stem for path in folder.glob("*.jsonl"))
        raise DataError(f"{folder} has no {split}.jsonl: {nearest(split, splits)}")
    return file


def _digest(prompt: Prompt) -> str:
    return hashlib.sha256(json.dumps(prompt.messages, sort_keys=True).encode()).hexdigest()
