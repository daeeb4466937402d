"""What an audit costs beside supervised fine-tuning, by the paper's formula (arXiv 2606.01476), from settings alone."""

from __future__ import annotations

from omniopd.config import METHODS, Recipe
from omniopd.method.scan import expected_run, expected_texts

PREFIX_TOKENS, ANSWER_TOKENS = 2000.0, 4000.0  # the paper's mean prefix P and answer of a teacher L
PRICE_RATIO = 10.0  # ρ: what a written token costs, in tokens that are read


def paper_cost(forks: int, samples: int, chunk_tokens: int) -> float:
    """M · (P/ρ + N·C) / L: the teacher's effort on one rollout, in answers that it would have written whole.

    A prefix is read once a fork, since the N samples share it. The paper's settings give 0.88 (M = 5), 1.75 (M = 10)
    and 3.00 (C = 100).
    """
    return forks * (PREFIX_TOKENS / PRICE_RATIO + samples * chunk_tokens) / ANSWER_TOKENS


def cost_of(recipe: Recipe) -> float:
    """`paper_cost` of a recipe's settings; 0 for a method that asks no teacher, and 1 for one whose teacher
    answers whole."""
    cost, audit = METHODS[recipe.method].cost if recipe.method in METHODS else "nothing", recipe.audit
    if cost == "forks" and audit.way == "scan":
        texts = audit.forks or expected_texts(round(ANSWER_TOKENS))
        return audit.samples * texts * (PREFIX_TOKENS / PRICE_RATIO + expected_run(audit.chunk_tokens)) / ANSWER_TOKENS
    if cost == "forks":
        return paper_cost(audit.forks, audit.samples, audit.chunk_tokens)
    return {"answers": 1.0, "nothing": 0.0}[cost]
