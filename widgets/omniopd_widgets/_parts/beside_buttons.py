"""What the workbench's bar says: where asking would ask, how much doubt there is to ask about before anybody is paid,
why something cannot be done. Numbers and words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NO_LAUNCHER = 'this workbench has no launcher: make it with runs="runs"'
NO_RECIPE = (
    "this workbench was made of an exploration=, whose student, teacher and task a launched run cannot be told: make "
    "it of a recipe, by its name or file, to train with these settings"
)
NO_DOUBT = 0.005  # nats: what rounds to 0.00


def place(token: int, entropy: float, of_forks: Sequence[float]) -> str:
    """Where *Ask here* would ask, and at how many of all forks, by their entropies, the student has no doubt."""
    sure = sum(map(_is_none, of_forks))
    forks = f"; at {sure} of {len(of_forks)} forks the student has no doubt (entropy 0.00 nats)" if sure else ""
    return f"at token {token}{_doubt(entropy)}{forks}"


def to_pay(token: int, entropy: float, price: object) -> str:
    """Of a fork that was opened and costs something."""
    return f"token {token}{_doubt(entropy)}: press “Ask here” to pay {price}"


def stale(asked: Sequence[Any], answered: Sequence[Any]) -> str:
    """Why the answer is not one to what stands on the bar (problem, own text, seed, temperature); "" where it is."""
    if not answered or asked == answered:
        return ""
    if asked[:2] == answered[:2]:
        return "This is the answer of another seed or temperature: have the student answer again."
    return "This is the answer to another problem: have the student answer this one."


def _doubt(entropy: float) -> str:
    return ", where the student has no doubt (entropy 0.00 nats)" if _is_none(entropy) else ""


def _is_none(entropy: float) -> bool:
    return entropy < NO_DOUBT
