"""What a run of a recipe will cost, said before it is started; above a set sum it is asked for, or refused.

Before that it is asked whether a key may go where the recipe sends it. The same words for the command line and for
notebooks. A teacher that runs here costs nothing and gets no word.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from omniopd.errors import Refused

if TYPE_CHECKING:
    from omniopd.config import Recipe
    from omniopd.records import EvalRecord
    from omniopd.teachers.spending.estimate import TeacherEstimate


def price_first(
    recipe: Recipe,
    accept_usd: float | None = None,
    *,
    yes: bool = False,
    steps_done: int = 0,
    evals: Iterable[EvalRecord] = (),
    way_out: str = "set accept_usd to that sum, or raise teacher.ask_above_usd",
) -> TeacherEstimate | None:
    """Print what the rest of a run takes of a teacher behind an API; None, and no word, where none is asked.

    A sum above `teacher.ask_above_usd` needs a word: `accept_usd` at least as high, `yes`, or an answer at a terminal.
    Without one it raises Refused, whose sentence ends in `way_out`; it never waits without a terminal. A budget
    in the recipe is such a word, and so is `teacher.allow_unknown_price` where the price is not known. Of a resumed run
    the steps after `steps_done` count, and its controls but those whose evaluations are all among `evals`.
    """
    from omniopd.costs.recipe import estimate_of
    from omniopd.teachers.spending.estimate import require_accepted

    keys_first(recipe)
    found = estimate_of(recipe, steps_done, _controls_left(recipe, evals))
    if found is None or not found.calls:
        return None
    print(f"The teacher {recipe.teacher.model} will take {found}.", file=sys.stderr)
    if yes or (found.usd is None and recipe.teacher.allow_unknown_price):
        return found
    if found.usd is None and not recipe.teacher.api_base:
        way_out += f"; a model of the hub is written local:{recipe.teacher.model}"
    accepted = accept_usd if accept_usd is not None else recipe.teacher.budget_usd or None
    try:
        require_accepted(found, recipe.teacher.ask_above_usd, accepted, way_out)
    except Refused:
        if accept_usd is not None or not _agreed_at_a_terminal():
            raise
    return found


def keys_first(recipe: Recipe) -> None:
    """Ask before a recipe sends the user's key to a host that the key does not belong to; a yes is remembered.

    No flag replaces that answer, since a recipe may be a stranger's: without a terminal, Refused names the pair and how
    to allow it once. Raises ConfigError for an invalid address or variable.
    """
    from omniopd.teachers.access.keys import allow, require_leave, sent_by_recipe
    from omniopd.teachers.model_traits import runs_here
    from omniopd.teachers.registry import require_reachable

    t = recipe.teacher
    if runs_here(t.model) or t.replay:
        return
    require_reachable(t.model, t.api_base)
    sent = sent_by_recipe(t)
    try:
        require_leave(sent, t.model)
    except Refused:
        what = f"The recipe {recipe.name} sends the key in {sent.variable} to {sent.host}."
        if not _agreed_at_a_terminal(f"{what}\nMay it go there, from now on?"):
            raise
        print(f"Remembered in {allow(sent.variable, sent.host)}.", file=sys.stderr)


def _controls_left(recipe: Recipe, evals: Iterable[EvalRecord]) -> list[str]:
    """The controls that a run still trains, from its start: those that are not measured at every temperature."""
    from omniopd.evaluation.tables import CONTROL

    measured = Counter(record.model for record in evals)
    return [c for c in recipe.evaluation.controls if measured[CONTROL + c] != len(recipe.evaluation.temperatures)]


def _agreed_at_a_terminal(question: str = "Start it?") -> bool:
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
