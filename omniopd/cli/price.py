"""What a run of a recipe will cost, said before it is started; above a set sum it is asked for, or refused.

The same words for the command line and for notebooks. A teacher that runs here costs nothing and gets no word.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omniopd.errors import Refused

if TYPE_CHECKING:
    from omniopd.config import Recipe
    from omniopd.teachers.estimate import Estimate
    from omniopd.teachers.prices import Price

_PROMPTS = 64
# What an instruction says around a prefix, in tokens.
_INSTRUCTION_TOKENS = 120.0


def price_first(
    recipe: Recipe,
    accept_usd: float | None = None,
    *,
    yes: bool = False,
    steps_done: int = 0,
    way_out: str = "set accept_usd to that sum, or raise teacher.ask_above_usd",
) -> Estimate | None:
    """Print what the rest of a run takes of a teacher behind an API; None, and no word, where none is asked.

    A sum above `teacher.ask_above_usd` needs a word: `accept_usd` at least as high, `yes`, or an answer at a terminal.
    Without one it raises Refused, whose sentence ends in `way_out`; it never waits where nobody can answer. A budget
    in the recipe is such a word, and so is `teacher.allow_unknown_price` where nobody knows the price.
    """
    from omniopd.teachers.estimate import require_accepted

    found = estimate_of(recipe, steps_done)
    if found is None or not found.calls:
        return None
    print(f"The teacher {recipe.teacher.model} will take {found}.", file=sys.stderr)
    if yes or (found.usd is None and recipe.teacher.allow_unknown_price):
        return found
    accepted = accept_usd if accept_usd is not None else recipe.teacher.budget_usd or None
    try:
        require_accepted(found, recipe.teacher.ask_above_usd, accepted, way_out)
    except Refused:
        if accept_usd is not None or not _agreed_at_a_terminal():
            raise
    return found


def estimate_of(recipe: Recipe, steps_done: int = 0, latency_s: float | None = None) -> Estimate | None:
    """What the steps that are left take, with the mean length of the recipe's own problems; None for a teacher that
    runs here, for a replay, and for a method that asks no teacher."""
    t = recipe.teacher
    # As build.py reads a teacher's name; here a local one's weights need not be loaded, nor torch.
    if t.model.startswith(("embedded:", "local:")) or Path(t.model).is_dir() or t.replay:
        return None
    from omniopd.teachers.catalogue import traits_of
    from omniopd.teachers.estimate import LATENCY_S, estimate

    traits = traits_of(t.model)
    handover = traits.handover if t.handover == "auto" else t.handover
    left = replace(recipe, training=replace(recipe.training, steps=max(0, recipe.training.steps - steps_done)))
    return estimate(
        left,
        _price(recipe),
        latency_s or LATENCY_S,
        t.concurrency,
        prompt_tokens=_prompt_tokens(recipe),
        extra_input=_INSTRUCTION_TOKENS if handover == "instruction" else 0.0,
        extra_output=float(traits.thinking_tokens),
        samples_per_call=traits.most_samples,
        requests_per_minute=t.requests_per_minute,
        tokens_per_minute=t.tokens_per_minute,
    )


def _price(recipe: Recipe) -> Price | None:
    """The recipe's own price, or the table's; a server of one's own that neither knows sends no bill."""
    from omniopd.teachers.prices import per_million, price_of
    from omniopd.teachers.wire import SERVERS

    t = recipe.teacher
    if t.usd_per_million_input or t.usd_per_million_output:
        return per_million(t.usd_per_million_input, t.usd_per_million_output)
    return price_of(t.model) or (per_million(0, 0) if t.model.startswith(SERVERS) else None)


def _prompt_tokens(recipe: Recipe) -> float:
    """The mean length of some of the recipe's problems, in the student's tokens."""
    from omniopd.build import build_task
    from omniopd.models.chat import prompt_ids
    from omniopd.models.loading import load_tokenizer

    tokenizer = load_tokenizer(recipe.student.model)
    prompts = build_task(recipe).prompts(recipe.task.train_split, _PROMPTS, recipe.seed)
    return sum(len(prompt_ids(tokenizer, p.messages)) for p in prompts) / max(1, len(prompts))


def _agreed_at_a_terminal() -> bool:
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print("Start it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
