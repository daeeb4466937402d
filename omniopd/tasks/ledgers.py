"""The long world: ledgers of a dozen entries and more, whose answers check every sum, so that a slip can be repaired.

    Mia has 37 shells.
    a: finds 25
    b: gives 18
    …
    How many shells are there in the end?

    a 37+25=52, 52-25=27? 37+25=62, 62-25=37.
    b 62-18=44, 44+18=62.
    …
    #### 44

Every entry starts from the total before it, and more than a third carry or borrow. Each line takes its sum back: where
that does not lead to where it came from, the line says so and tries again, and what follows starts from the last try.
An answer is written in one of two hands, plain (above) or spoken (``b: 62 minus 18 is 44; 44 plus 18 is 62.``), and
keeps to it: who continues an answer goes on in its hand.

A ledger is a story (stories.py): its numbers, names and splits come about in the same way, and its id tells it again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from omniopd.config import TaskConfig
from omniopd.errors import DataError
from omniopd.tasks.stories import (
    ENDINGS,
    ITEMS,
    NAMES,
    OPENINGS,
    SPOKEN,
    Kinds,
    Move,
    Stories,
    Story,
    check_asked,
    draw_numbers,
    exact,
    pick,
)
from omniopd.types import Prompt

STEPS = (12, 13)
KINDS = Kinds((50, 50, 0), 0.45)  # about .36 do carry
ENTRIES = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt at an entry: its result, and what taking the sum back is said to give. `meant` is false for a slip
    that nobody shall learn from."""

    result: int
    back: int
    meant: bool = True


@dataclass(frozen=True, slots=True)
class Style:
    """The words of a hand; a line ends in a common way and in rarer ones, with weights."""

    label: str
    signs: Mapping[str, str]
    equals: str
    joint: str
    right: tuple[tuple[str, int], ...]
    wrong: tuple[tuple[str, int], ...]


PLAIN = Style(" ", {"+": "+", "-": "-"}, "=", ", ", ((".", 90), (" again.", 10)), (("?", 90), (", no:", 10)))
HANDS = {"plain": PLAIN, "spoken": replace(PLAIN, label=": ", signs=SPOKEN, equals=" is ", joint="; ")}

Attempt = Callable[[int, Move], Sequence[Try]]  # the total before an entry, the entry → at least one try
Piece = tuple[str, bool]  # a stretch of an answer, and whether it is meant


class Ledger(Story):
    """A story whose worked answers are lines of a ledger."""

    __slots__ = ()

    def solution(self) -> str:
        """A right answer without a slip, in the plain hand."""
        return worked_answer(self, random.Random(f"{self.id}/0"))


@dataclass(frozen=True, slots=True)
class Ledgers(Stories):
    """The world as a task; graded as stories are, by the number after the last ``####``."""

    steps: tuple[int, ...] = STEPS
    name: str = "ledgers"

    def prompts(self, split: str, count: int | None = None, seed: int = 0) -> list[Prompt]:
        """As `Stories.prompts`."""
        indices = range(500 if count is None else count)
        return [make_ledger(split, index, seed, self.steps).prompt(self.instruction) for index in indices]

    def worked_answer(self, prompt: Prompt, seed: int = 0) -> str:
        """A right answer without a slip, in the plain hand; another seed words its verdicts otherwise."""
        return worked_answer(ledger_of(prompt.id), random.Random(f"{prompt.id}/{seed}"))


def build(settings: TaskConfig) -> Ledgers:
    """The task of a recipe, always of ledgers of full length (`task.steps` is for stories)."""
    return Ledgers(instruction=settings.instruction)


def make_ledger(split: str, index: int, seed: int = 0, steps: Sequence[int] = STEPS) -> Ledger:
    """Ledger number `index` of a split. Raises DataError for an unknown split or a number of entries outside 1-26."""
    check_asked(split, steps, len(ENTRIES))
    ledger_id = f"ledgers/{split}/{'-'.join(str(count) for count in steps)}/{seed}/{index}"
    rng = random.Random(ledger_id)
    start, moves = draw_numbers(split, steps, rng, KINDS)
    name, items = rng.choice(NAMES)[0], rng.choice(ITEMS)
    return Ledger(ledger_id, _question(rng, name, items, start, moves), name, items, start, moves)


def ledger_of(prompt_id: str) -> Ledger:
    """The ledger behind a prompt's id. Raises DataError where the id is not one of this world's."""
    match = re.fullmatch(r"ledgers/(\w+)/(\d+(?:-\d+)*)/(-?\d+)/(\d+)", prompt_id)
    if match is None:
        raise DataError(f"prompt id {prompt_id!r} is not a ledger's: expected ledgers/<split>/<steps>/<seed>/<index>")
    split, steps, seed, index = match.groups()
    return make_ledger(split, int(index), int(seed), tuple(int(count) for count in steps.split("-")))


def worked_answer(ledger: Story, rng: random.Random, style: Style = PLAIN, attempt: Attempt | None = None) -> str:
    """One line an entry, then ``#### total``. Without an `attempt` of its own it is exact at the first try."""
    return "".join(text for text, _ in answer_pieces(ledger, rng, style, attempt or at_once))


def answer_pieces(ledger: Story, rng: random.Random, style: Style, attempt: Attempt) -> list[Piece]:
    """A worked answer in pieces; the results of tries that are not meant stand by themselves."""
    pieces: list[Piece] = []
    total = ledger.start
    for entry, move in zip(ENTRIES, ledger.moves, strict=False):
        tries = attempt(total, move)
        pieces += line_pieces(entry, total, move, tries, rng, style)
        total = tries[-1].result
    return [*pieces, (f"#### {total}", True)]


def line_pieces(
    entry: str, total: int, move: Move, tries: Sequence[Try], rng: random.Random, style: Style
) -> list[Piece]:
    """The line of an entry: each try, what it gives back, a verdict. Its first piece ends before the first result."""
    pieces: list[Piece] = []
    opening = entry + style.label
    for number, tried in enumerate(tries, 1):
        pieces.append((f"{opening}{total}{style.signs[move.sign]}{move.amount}{style.equals}", True))
        pieces.append((str(tried.result), tried.meant))
        back = taken_back(move)
        verdict = pick(style.right, rng) + "\n" if number == len(tries) else pick(style.wrong, rng) + " "
        said = f"{tried.result}{style.signs[back.sign]}{back.amount}{style.equals}{tried.back}"
        pieces.append((f"{style.joint}{said}{verdict}", True))
        opening = ""
    return pieces


def at_once(total: int, move: Move) -> Sequence[Try]:
    """Right at the first try."""
    return (Try(exact(total, move.sign, move.amount), total),)


def taken_back(move: Move) -> Move:
    """The entry that undoes this one."""
    return Move("-" if move.sign == "+" else "+", move.amount)


# --- words ----------------------------------------------------------------------------------------------------------

_HAPPENINGS = {"+": ("finds", "buys", "gets"), "-": ("loses", "sells", "gives")}


def _question(rng: random.Random, name: str, items: str, start: int, moves: Sequence[Move]) -> str:
    lines = [rng.choice(OPENINGS).format(name=name, a=start, items=items)]
    for entry, move in zip(ENTRIES, moves, strict=False):
        lines.append(f"{entry}: {rng.choice(_HAPPENINGS[move.sign])} {move.amount}")
    return "\n".join([*lines, rng.choice(ENDINGS).format(name=name, items=items)])
