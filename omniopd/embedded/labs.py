"""The two labs: short stories, and the long ledgers whose models go on from those of the stories.

What `make.py` builds and `figures.py` measures of each, and what each promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from omniopd.embedded import ledger_book, story_book
from omniopd.embedded.pretrain import Schoolbook, Schooling, Shape
from omniopd.tasks.ledgers import Ledgers
from omniopd.tasks.stories import Stories

TEACHER, STUDENT = "teacher", "student"
PAIR = (TEACHER, STUDENT)


Lesson = tuple[Schoolbook, Schooling]


@dataclass(frozen=True, slots=True)
class Pupil:
    """A model to be: the folder it is written to, and the books it is taught from, one after the other."""

    folder: str
    shape: Shape
    lessons: tuple[Lesson, ...]


@dataclass(frozen=True, slots=True)
class Promises:
    """What a lab's pair keeps to, shares in [0, 1]; megabytes are of all that is shipped for it together."""

    student_greedy: float = 1.0
    student_best: tuple[float, float] = (0.15, 0.40)
    student_pass_at_16: float = 0.60
    teacher_sampled: float = 0.90
    texts_per_fork: float = 1.0
    megabytes: float = 12.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A lab: its world, its pair, and how long texts are. `mark` tells its figures and its table from another's;
    `goes_on` says that its models and its tokenizer begin as the shipped ones of the first lab."""

    task: Stories
    teacher: Pupil
    student: Pupil
    mark: str
    answer_tokens: int
    positions: int
    promises: Promises
    goes_on: bool = False

    def pupil(self, name: str) -> Pupil:
        """The `teacher` or the `student`."""
        return self.teacher if name == TEACHER else self.student


SHAPES = {TEACHER: Shape(128, 4, 384), STUDENT: Shape(96, 4, 320)}

# In the first lesson the learning rate stays high until an entry is found by its letter, which a model learns late and
# suddenly; the second has ledgers of full length only, and lets the rate fall. The teacher then found the last entries
# in its own hand and not in the student's: two lessons have more of that one, a last one gives it back its own.
_FIRST = Schooling(2600, learning_rate=2e-3, warm_up=50, drilled=0.03, still_drilled=0.08, rows=16, told_rows=8)
_SECOND = Schooling(2800, learning_rate=2e-3, warm_up=50, descent=0.5, drilled=0.0, still_drilled=0.04, rows=16,
                    told_rows=8)  # fmt: skip
_THIRD = replace(_SECOND, steps=800, learning_rate=1.5e-3, descent=0.6)
_LAST = replace(_SECOND, steps=120, learning_rate=5e-4, descent=0.8)


def _ledgers(book: ledger_book.LedgerBook, until: int, steps: int) -> tuple[Lesson, Lesson]:
    return (replace(book, easy=8000), replace(_FIRST, until=until)), (book, replace(_SECOND, steps=steps))


LABS: Mapping[str, Plan] = {
    "stories": Plan(
        task=Stories(),
        teacher=Pupil("teacher", SHAPES[TEACHER], ((story_book.TEACHER, Schooling(4000)),)),
        student=Pupil("student", SHAPES[STUDENT], ((story_book.STUDENT, Schooling(2400)),)),
        mark="figures",
        answer_tokens=80,
        positions=512,
        promises=Promises(texts_per_fork=3.0),
    ),
    "ledgers": Plan(
        task=Ledgers(),
        teacher=Pupil("long-teacher", SHAPES[TEACHER], (
            *_ledgers(ledger_book.TEACHER, 1600, 2800),
            (replace(ledger_book.TEACHER, plain=0.5), _THIRD),
            (replace(ledger_book.TEACHER, plain=0.1), replace(_SECOND, steps=520)),
            (ledger_book.TEACHER, _LAST),
        )),
        student=Pupil("long-student", SHAPES[STUDENT], _ledgers(ledger_book.STUDENT, 1800, 1700)),
        mark="long-figures",
        answer_tokens=448,
        positions=640,
        promises=Promises(student_greedy=0.20, student_best=(0.05, 0.40)),
        goes_on=True,
    ),
}
