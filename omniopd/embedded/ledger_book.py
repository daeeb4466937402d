"""The long lab's schoolbooks: how its teacher and its student are taught ledgers.

The teacher's answers are exact, but now and then a slip stands in them, from which it learns to notice and repair and
never to slip: it writes a slip that it finds in another's answer off, and makes none. It mostly writes the plain hand,
and can read both. The student's book is written in the spoken hand by someone who forgets most carries and mostly signs
the check unread: it is wrong at its mode, and able to repair.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from omniopd.embedded.pretrain import Piece, Row, in_tokens
from omniopd.tasks.ledgers import (
    ENTRIES,
    HANDS,
    KINDS,
    STEPS,
    Style,
    Try,
    answer_pieces,
    at_once,
    line_pieces,
    make_ledger,
    taken_back,
)
from omniopd.tasks.stories import Move, Story, exact, in_world, random_sum, without_carry

SUMS = 8  # lines in a row of sums
EASY = tuple(range(2, 14))  # entries of the first ledgers: to find an entry by its letter is learnt on few of them


@dataclass(frozen=True, slots=True)
class LedgerBook:
    """How the book's author writes: `plain` the share of answers in the plain hand, `forgets` the share of carries that
    are forgotten, `errs` that of other slips; `notices` the share of slips that the check finds, and `meant` whether
    slips are learnt. The first `easy` ledgers are shorter."""

    plain: float
    forgets: float
    errs: float
    notices: float
    meant: bool
    easy: int = 0

    def sums(self, tokenizer: PreTrainedTokenizerFast, rows: int, rng: random.Random) -> list[Row]:
        """Rows of lines that belong to no ledger; what stands before a first result is not learnt."""
        texts: list[list[Piece]] = []
        for _ in range(rows):
            style = self._style(rng)
            pieces: list[Piece] = []
            for entry in rng.sample(ENTRIES[:14], SUMS):
                total, sign, amount = random_sum(rng, KINDS)
                move = Move(sign, amount)
                (opening, _), *rest = line_pieces(entry, total, move, self._tries(total, move, rng), rng, style)
                pieces += [(opening, False), *rest]
            texts.append(pieces)
        return in_tokens(tokenizer, texts)

    def story(self, index: int, seed: int) -> Story:
        """A ledger of the training split."""
        return make_ledger("train", index, seed, EASY if index < self.easy else STEPS)

    def answer(self, story: Story, rng: random.Random) -> list[Piece] | None:
        """A worked answer; None where twenty tries all left the world of two-digit totals."""
        for _ in range(20):
            style, totals = self._style(rng), [story.start]
            lines: list[Sequence[Try]] = []
            for move in story.moves:
                lines.append(self._tries(totals[-1], move, rng))
                totals.append(lines[-1][-1].result)
            if all(map(in_world, totals)):
                ready = iter(lines)
                return answer_pieces(story, rng, style, lambda total, move: next(ready))  # noqa: B023
        return None

    def _style(self, rng: random.Random) -> Style:
        return HANDS["plain" if rng.random() < self.plain else "spoken"]

    def _tries(self, total: int, move: Move, rng: random.Random) -> Sequence[Try]:
        """Right at once; or a slip, which the check finds and a second try repairs, or which is signed unread."""
        right, slip = exact(total, move.sign, move.amount), without_carry(total, move.sign, move.amount)
        if slip == right or rng.random() >= self.forgets:
            if rng.random() >= self.errs:
                return at_once(total, move)
            slip = _misread(right, rng)
        back = taken_back(move)
        if rng.random() < self.notices:
            return (Try(slip, exact(slip, back.sign, back.amount), self.meant), *at_once(total, move))
        return (Try(slip, total, self.meant),)


def _misread(right: int, rng: random.Random) -> int:
    """Another two-digit number with one digit of the right one."""
    while True:
        wrong = rng.choice((right // 10 * 10 + rng.randrange(10), rng.randint(1, 9) * 10 + right % 10))
        if wrong != right:
            return wrong


TEACHER = LedgerBook(plain=0.8, forgets=0.25, errs=0.05, notices=1.0, meant=False)
STUDENT = LedgerBook(plain=0.1, forgets=0.75, errs=0.0, notices=0.25, meant=True)
