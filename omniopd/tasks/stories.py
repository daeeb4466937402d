"""The embedded world: endless, seeded word problems of a few steps, with worked answers in GSM8K's form.

    Mia has 37 shells. She finds 25 more. Then she gives 18 to Tom. How many shells does Mia have now?

    Mia has 37+25=62 shells.
    There are 62-18=44 shells now.
    #### 44

Difficulty is the number of steps. Every total has two digits, and about half of the steps carry or borrow, because
that is what the embedded student has not learnt. A right line has many wordings, one of them common: a right chunk need
not be the teacher's most frequent one, and an uncertain digit still outweighs an uncertain word.

A story is a function of (split, steps, seed, index) alone, and its id says all
four, so that a worked answer can be had for any prompt. The split is decided by a hash of the story's numbers: whatever
its names and words, a problem belongs to one split only.
"""

from __future__ import annotations

import functools
import hashlib
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from omniopd.config import TaskConfig
from omniopd.errors import ConfigError, DataError
from omniopd.types import Prompt

SPLITS = ("train", "dev", "test")
STEPS = (2, 3, 4)

_GIVEN = re.compile(r"####\s*(-?\d+)")
Compute = Callable[[int, str, int], int]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which steps a world has: how often ``+ - *``, and the share that shall carry or borrow; not all numbers can."""

    weights: tuple[int, int, int]
    carry_share: float


KINDS = Kinds((45, 45, 10), 0.66)  # about .55 do carry


@dataclass(frozen=True, slots=True)
class Move:
    """One step: what happens to the running total. `sign` is one of ``+ - *``, `amount` the second operand."""

    sign: str
    amount: int


@dataclass(frozen=True, slots=True)
class Story:
    """A problem: its text, who and what it is about, and its numbers."""

    id: str
    question: str
    name: str
    items: str
    start: int
    moves: tuple[Move, ...]

    @property
    def answer(self) -> int:
        """The last total."""
        return self.totals()[-1]

    def totals(self, compute: Compute | None = None) -> list[int]:
        """The running total before the first step and after each; `compute(a, sign, b)` replaces exact arithmetic."""
        totals = [self.start]
        for move in self.moves:
            totals.append((compute or exact)(totals[-1], move.sign, move.amount))
        return totals

    def prompt(self, instruction: str = "") -> Prompt:
        """The story as a task shows it to a model, an `instruction` below it."""
        asked = f"{self.question}\n{instruction}" if instruction else self.question
        return Prompt(self.id, ({"role": "user", "content": asked},), str(self.answer), self.solution())

    def solution(self) -> str:
        """One of its worked answers."""
        return worked_answer(self, random.Random(f"{self.id}/0"))


@dataclass(frozen=True, slots=True)
class Stories:
    """The world as a task: prompts by split, a grade for each response, a worked answer for each prompt.

    An `instruction` below every story tells a model that was not made for this world what is wanted."""

    steps: tuple[int, ...] = STEPS
    instruction: str = ""
    name: str = "stories"

    def prompts(self, split: str, count: int | None = None, seed: int = 0) -> list[Prompt]:
        """`count` prompts of a split (train, dev, test); the same arguments give the same prompts, and a longer list
        begins with the shorter one. The world has no end: without a `count` there are 500."""
        return stories(split, 500 if count is None else count, seed, self.steps, self.instruction)

    def grade(self, prompt: Prompt, response: str) -> bool:
        """Whether the number after the last ``####`` is the answer."""
        return grade(prompt, response)

    def readable(self, prompt: Prompt, response: str) -> bool:
        """Whether a number follows some ``####``, right or wrong."""
        return bool(_GIVEN.search(response))

    def worked_answer(self, prompt: Prompt, seed: int = 0) -> str:
        """One of the many right answers to a prompt of this world; another seed words it otherwise."""
        return worked_answer(story_of(prompt.id), random.Random(f"{prompt.id}/{seed}"))


def build(settings: TaskConfig) -> Stories:
    """The task of a recipe. Raises ConfigError where no number of steps is named."""
    if not settings.steps:
        raise ConfigError("task.steps is []: name one or more lengths of a story from 1 to 9, such as [1, 2]")
    return Stories(settings.steps, settings.instruction)


def stories(
    split: str, count: int, seed: int = 0, steps: Sequence[int] = STEPS, instruction: str = ""
) -> list[Prompt]:
    """`count` prompts of a split; see `Stories.prompts`."""
    return [make_story(split, index, seed, steps).prompt(instruction) for index in range(count)]


def make_story(split: str, index: int, seed: int = 0, steps: Sequence[int] = STEPS) -> Story:
    """Story number `index` of a split. Raises DataError for an unknown split or a number of steps outside 1-9."""
    check_asked(split, steps, most=9)
    story_id = f"stories/{split}/{''.join(str(count) for count in steps)}/{seed}/{index}"
    rng = random.Random(story_id)
    start, moves = draw_numbers(split, steps, rng)
    name, friend = rng.sample(NAMES, 2)
    items = rng.choice(ITEMS)
    return Story(story_id, _question(rng, name, friend, items, start, moves), name[0], items, start, moves)


def story_of(prompt_id: str) -> Story:
    """The story behind a prompt's id. Raises DataError where the id is not one of this world's."""
    match = re.fullmatch(r"stories/(\w+)/([1-9]+)/(-?\d+)/(\d+)", prompt_id)
    if match is None:
        raise DataError(f"prompt id {prompt_id!r} is not a story's: expected stories/<split>/<steps>/<seed>/<index>")
    split, steps, seed, index = match.groups()
    return make_story(split, int(index), int(seed), tuple(int(digit) for digit in steps))


def worked_answer(story: Story, rng: random.Random, compute: Compute | None = None) -> str:
    """One line a step in freely chosen words, then ``#### total``. A `compute` that errs gives an answer that is wrong
    but consistent: later lines go on from the wrong total."""
    totals = story.totals(compute)
    lines = [
        _line(story, move, before, after, rng)
        for move, before, after in zip(story.moves, totals, totals[1:], strict=False)
    ]
    return "\n".join([*lines, f"#### {totals[-1]}"])


def grade(prompt: Prompt, response: str) -> bool:
    """Whether the number after the last ``####`` of a response is the prompt's answer."""
    given = _GIVEN.findall(response)
    return bool(given) and prompt.answer is not None and int(given[-1]) == int(prompt.answer)


def exact(total: int, sign: str, amount: int) -> int:
    """Arithmetic as it should be: ``+``, ``-`` or ``*``."""
    if sign == "+":
        return total + amount
    return total - amount if sign == "-" else total * amount


def without_carry(total: int, sign: str, amount: int) -> int:
    """Column by column, with nothing carried or borrowed: 37+25=52, 62-18=56 (the smaller digit from the larger),
    26*2=42. Two such slips rarely cancel, so a wrong line seldom leads to a right answer."""
    ones, tens = total % 10, total // 10
    if sign == "*":
        return 10 * tens * amount + ones * amount % 10
    if sign == "+":
        return 10 * (tens + amount // 10) + (ones + amount) % 10
    return 10 * (tens - amount // 10) + abs(ones - amount % 10)


def in_world(total: int) -> bool:
    """Every total of this world has two digits."""
    return 10 <= total <= 99


def random_sum(rng: random.Random, kinds: Kinds = KINDS) -> tuple[int, str, int]:
    """A sum of the kind that stories are made of, by itself: (first operand, sign, second operand)."""
    while True:
        total = rng.randint(10, 99)
        move = _move(total, rng, kinds)
        if move is not None:
            return total, move.sign, move.amount


def check_asked(split: str, steps: Sequence[int], most: int) -> None:
    """Raises DataError for an unknown split or a number of steps outside 1 to `most`."""
    if split not in SPLITS:
        raise DataError(f"split is {split!r}: there are {', '.join(SPLITS)}")
    if not steps or any(count not in range(1, most + 1) for count in steps):
        raise DataError(f"steps is {tuple(steps)}: give one or more numbers from 1 to {most}")


def draw_numbers(
    split: str, steps: Sequence[int], rng: random.Random, kinds: Kinds = KINDS
) -> tuple[int, tuple[Move, ...]]:
    """The start and the moves of a problem of this split, of as many steps as one of `steps` says."""
    while True:
        start = rng.randint(12, 88)
        moves = _moves(start, rng.choice(tuple(steps)), rng, kinds)
        if _split_of(start, moves) == split:
            return start, moves


# --- numbers --------------------------------------------------------------------------------------------------------


@functools.cache
def _amounts(total: int, sign: str, carries: bool) -> tuple[int, ...]:
    """Second operands that keep the result in the world and carry (or borrow), or do not."""
    candidates = (2, 3) if sign == "*" else range(10, 90)
    results = ((amount, exact(total, sign, amount)) for amount in candidates)
    return tuple(b for b, c in results if in_world(c) and (without_carry(total, sign, b) != c) == carries)


def _moves(total: int, count: int, rng: random.Random, kinds: Kinds) -> tuple[Move, ...]:
    moves: list[Move] = []
    while len(moves) < count:
        move = _move(total, rng, kinds)
        if move is not None:
            moves.append(move)
            total = exact(total, move.sign, move.amount)
    return tuple(moves)


def _move(total: int, rng: random.Random, kinds: Kinds) -> Move | None:
    sign = rng.choices("+-*", weights=kinds.weights)[0]
    amounts = _amounts(total, sign, rng.random() < kinds.carry_share)
    return Move(sign, rng.choice(amounts)) if amounts else None


def _split_of(start: int, moves: Sequence[Move]) -> str:
    canonical = f"{start}" + "".join(f"{move.sign}{move.amount}" for move in moves)
    share = int.from_bytes(hashlib.blake2b(canonical.encode(), digest_size=8).digest(), "big") % 100
    return "test" if share < 10 else "dev" if share < 20 else "train"


# --- words ----------------------------------------------------------------------------------------------------------

NAMES = [
    *((name, "she") for name in ("Mia", "Ann", "Eva", "Zoe", "Ida", "Lea", "Ada", "Amy")),
    *((name, "he") for name in ("Tom", "Ben", "Max", "Leo", "Sam", "Ali", "Jan", "Raj")),
]
ITEMS = (
    "apples", "shells", "cards", "coins", "pens", "beads", "stamps", "books",
    "pears", "stones", "nuts", "keys", "cups", "bricks", "toys", "seeds",
)  # fmt: skip
OPENINGS = ("{name} has {a} {items}.", "{name} starts with {a} {items}.", "There are {a} {items} in {name}'s box.")
_HAPPENINGS = {
    "+": ("{he} buys {b} more.", "{he} finds {b} more.", "{friend} brings {b} more.", "{he} gets {b} from {friend}."),
    "-": ("{he} gives {b} to {friend}.", "{he} loses {b}.", "{he} sells {b}.", "{friend} takes {b} away."),
    "*": ("The number grows {b} times.", "{he} ends up with {b} times as many."),
}
_LINKS = ("", "", "Then ", "Next, ", "Later ")
ENDINGS = ("How many {items} does {name} have now?", "How many {items} are there in the end?", "How many are left?")
SPOKEN = {"+": " plus ", "-": " minus ", "*": " times "}

# One wording is common and the others are not: entropy over words stays below that of a digit the student is unsure of.
_HEADS = (("{name} has", 84), ("There are", 7), ("That makes", 5), ("So {he} has", 4))
_TAILS = ((" {items}.", 82), (".", 8), (" {items} now.", 6), (" in all.", 4))
_SPOKEN_SHARE = 0.12


def _question(
    rng: random.Random, who: tuple[str, str], friend: tuple[str, str], items: str, start: int, moves: Sequence[Move]
) -> str:
    name, he = who
    sentences = [rng.choice(OPENINGS).format(name=name, a=start, items=items)]
    for number, move in enumerate(moves):
        link = rng.choice(_LINKS) if number else ""
        subject = he if link else he.capitalize()
        happening = rng.choice(_HAPPENINGS[move.sign])
        if link and happening.startswith("The "):
            happening = "t" + happening[1:]
        sentences.append(link + happening.format(he=subject, friend=friend[0], b=move.amount))
    sentences.append(rng.choice(ENDINGS).format(name=name, items=items))
    return " ".join(sentences)


def _line(story: Story, move: Move, before: int, after: int, rng: random.Random) -> str:
    if rng.random() < _SPOKEN_SHARE:
        equation = f"{before}{SPOKEN[move.sign]}{move.amount} is {after}"
    else:
        equation = f"{before}{move.sign}{move.amount}={after}"
    he = dict(NAMES)[story.name]
    words = f"{pick(_HEADS, rng)} {equation}{pick(_TAILS, rng)}"
    return words.format(name=story.name, items=story.items, he=he)


def pick(weighted: Sequence[tuple[str, int]], rng: random.Random) -> str:
    """One of the texts, each as often as its weight says."""
    return rng.choices([text for text, _ in weighted], weights=[weight for _, weight in weighted])[0]
