"""GSM8K (Cobbe et al., 2021): grade-school word problems whose worked answers end in ``#### 18``.

By default the data set of that name on the Hugging Face hub; or a local copy in the same form, JSON lines with the
columns `question` and `answer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omniopd.config import TaskConfig
from omniopd.errors import DataError
from omniopd.tasks.final_answer import GradesFinalAnswer
from omniopd.tasks.grading import final_answer
from omniopd.tasks.jsonl import draw
from omniopd.tasks.rows import rows_as_prompts
from omniopd.tasks.sources import rows_of
from omniopd.types import Prompt

# No example: small models copy its number as their answer.
INSTRUCTION = "Think step by step, and write the final number alone after #### on the last line."


@dataclass(frozen=True, slots=True)
class Gsm8k(GradesFinalAnswer):
    """GSM8K's splits "train" and "test"; `prompt.answer` is the final number alone.

    `path_or_id` is a data set's id on the hub, a folder with ``train.jsonl`` and ``test.jsonl``, or one such file,
    which is then the only split and has the file's name. Questions longer than `longest_question` characters (0: any)
    are left out. Raises DataError on first use.
    """

    path_or_id: str | Path = "openai/gsm8k"
    config: str = "main"  # of the data set on the hub
    instruction: str = INSTRUCTION
    longest_question: int = 0
    name: str = "gsm8k"

    def prompts(self, split: str, count: int | None = None, seed: int = 0) -> list[Prompt]:
        """`count` prompts of a split in a seeded order (None: all); a longer list begins with the shorter one."""
        rows, place = rows_of(self.path_or_id, split, self.config)
        worked = rows_as_prompts(rows, "question", "answer", f"{self.name}/{split}", place, self.instruction)
        if self.longest_question:
            short = [len(str(row["question"])) <= self.longest_question for row in rows]
            worked = [prompt for prompt, is_short in zip(worked, short, strict=True) if is_short]
            place = f"the questions of at most {self.longest_question} characters in {place}"
        return draw([_with_final_answer(prompt, place) for prompt in worked], count, seed, place)


def build(settings: TaskConfig) -> Gsm8k:
    source = {"path_or_id": settings.path} if settings.path else {}
    return Gsm8k(**source, instruction=settings.instruction or INSTRUCTION, longest_question=settings.longest_question)


def _with_final_answer(prompt: Prompt, place: str) -> Prompt:
    worked = prompt.answer or ""
    final = final_answer(worked)
    if "####" not in worked or not final:
        raise DataError(f"{place}: the answer of {prompt.id} ends with {worked[-40:]!r}, not with #### and a number: "
                        "use tasks.jsonl for data of another form")
    return Prompt(prompt.id, prompt.messages, final, solution=worked)
