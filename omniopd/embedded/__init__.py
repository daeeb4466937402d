"""The labs that ship with the package: a teacher, a student, their tokenizer and the world they were taught.

`lab()` loads the first, of short stories, and so does ``omniopd.embedded()``; ``omniopd.embedded("ledgers")`` loads the
long one. README.md holds their figures; ``python -m omniopd.embedded.make`` builds them from nothing. `recorded` opens
the runs that ship beside them.
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


def lab(world: str = "stories") -> Lab:
    """Load a shipped lab, `stories` or `ledgers`: fresh models at each call, so that a trained student harms no later
    one. Raises ConfigError for another world."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from omniopd.embedded.labs import LABS
    from omniopd.errors import ConfigError

    if world not in LABS:
        raise ConfigError(f"no lab of {world!r} comes with this package: there are {', '.join(LABS)}")
    plan = LABS[world]
    return Lab(
        student=AutoModelForCausalLM.from_pretrained(FOLDER / plan.student.folder).eval(),
        teacher=AutoModelForCausalLM.from_pretrained(FOLDER / plan.teacher.folder).eval(),
        tokenizer=AutoTokenizer.from_pretrained(FOLDER / plan.student.folder),
        task=plan.task,
    )


def recorded(name: str = "embedded") -> Run:
    """A run that ships with the package, records only: `embedded` and `labels` (the recipes of these names),
    `self_teacher` (the first, with the frozen student in the teacher's place), `paper` (the second, with its target).

    Raises RunError for another name.
    """
    from omniopd.runs.store import open_run

    return open_run(RECORDED / name)


make_callable(__name__, lab)
