"""The first lab's schoolbooks: how its teacher and its student are taught stories.

The teacher learns exact arithmetic. The student learns from answers whose author forgets most carries and borrows and
goes on from the wrong total: it is wrong at its mode, by a gap and not by noise, and still able to be right. Both learn
the same words.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from omniopd.embedded.pretrain import Piece, Row
from omniopd.tasks.stories import (
    ITEMS,
    NAMES,
    Compute,
    Story,
    exact,
    in_world,
    make_story,
    random_sum,
    without_carry,
    worked_answer,
)

FORGETS = 0.65  # how often the student's schoolbook forgets a carry or a borrow


@dataclass(frozen=True, slots=True)
class StoryBook:
    """Stories of the training split; `forgets` is the share of carries that the answers forget."""

    forgets: float

    def sums(self, tokenizer: PreTrainedTokenizerFast, rows: int, rng: random.Random) -> list[Row]:
        """Rows of nine sums about one person's things."""
        return _sums(tokenizer, rows, self.forgets, rng)

    def story(self, index: int, seed: int) -> Story:
        """A story of the training split."""
        return make_story("train", index, seed)

    def answer(self, story: Story, rng: random.Random) -> list[Piece] | None:
        """A worked answer, learnt as a whole."""
        answer = schoolbook_answer(story, rng, self.forgets)
        return None if answer is None else [(answer, True)]


def forgetful(rng: random.Random, forgets: float) -> Compute:
    """Arithmetic that forgets a carry or a borrow with probability `forgets`."""
    return lambda a, sign, b: without_carry(a, sign, b) if rng.random() < forgets else exact(a, sign, b)


def schoolbook_answer(story: Story, rng: random.Random, forgets: float) -> str | None:
    """A worked answer by that arithmetic; None where twenty tries all left the world of two-digit totals."""
    for _ in range(20):
        results: dict[tuple[int, str, int], int] = {}
        compute = forgetful(rng, forgets)
        totals = story.totals(lambda a, s, b: results.setdefault((a, s, b), compute(a, s, b)))  # noqa: B023
        if all(map(in_world, totals)):
            return worked_answer(story, rng, lambda a, s, b: results[a, s, b])  # noqa: B023
    return None


def _sums(tokenizer: PreTrainedTokenizerFast, rows: int, forgets: float, rng: random.Random) -> list[Row]:
    """Rows of nine sums about one person's things. Learnt are the results, and to copy an earlier line's words: bare
    sums are learnt sooner, but words are then copied late or never."""
    texts = []
    for _ in range(rows):
        name, items = rng.choice(NAMES)[0], rng.choice(ITEMS)
        lines: list[str] = []
        while len(lines) < 9:
            a, sign, b = random_sum(rng)
            result = forgetful(rng, forgets)(a, sign, b)
            if in_world(result):
                lines.append(f"{name} has {a}{sign}{b}={result} {items}.\n")
        texts.append("".join(lines))
    equals, has = tokenizer.convert_tokens_to_ids(["=", *tokenizer.tokenize(" has")])
    return [(ids, _between(ids, equals, has)) for ids in tokenizer(texts).input_ids]


def _between(ids: Sequence[int], start: int, stop: int) -> list[bool]:
    """Which tokens lie behind a `start` and before the next `stop`."""
    inside, marked = False, []
    for token in ids:
        inside = inside and token != stop
        marked.append(inside)
        inside = inside or token == start
    return marked


TEACHER, STUDENT = StoryBook(0.0), StoryBook(FORGETS)
