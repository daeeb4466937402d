"""The lab that ships with the package: a teacher, a student, their tokenizer and the stories they were taught.

`lab()` loads it, and so does ``omniopd.embedded()``; README.md holds its figures; ``python -m omniopd.embedded.make``
builds it from nothing. `recorded` opens the runs that ship beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omniopd.io.callable_package import make_callable

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from omniopd.runs.store import Run
    from omniopd.tasks.stories import Stories

FOLDER = Path(__file__).parent
TEACHER, STUDENT, EMBEDDING = FOLDER / "teacher", FOLDER / "student", FOLDER / "embedding"
RECORDED = FOLDER / "recorded"


@dataclass(frozen=True, slots=True, eq=False)
class Lab:
    """Two models on the CPU in evaluation mode, the tokenizer both share, and the task."""

    student: PreTrainedModel
    teacher: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Stories


def lab() -> Lab:
    """Load the shipped lab: fresh models at each call, so that a trained student harms no later one."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from omniopd.tasks.stories import Stories

    return Lab(
        student=AutoModelForCausalLM.from_pretrained(STUDENT).eval(),
        teacher=AutoModelForCausalLM.from_pretrained(TEACHER).eval(),
        tokenizer=AutoTokenizer.from_pretrained(STUDENT),
        task=Stories(),
    )


def recorded(name: str = "labels") -> Run:
    """A run that ships with the package, records only: `labels` (the embedded recipe), `self_teacher`, `paper`.

    Raises RunError for another name.
    """
    from omniopd.runs.store import open_run

    return open_run(RECORDED / name)


make_callable(__name__, lab)
