"""Cross-entropy on the teacher's texts at the forks, alone: what OmniOPD's target adds to that shows beside it."""

from __future__ import annotations

from dataclasses import replace

from omniopd.training.parts import TrainerParts
from omniopd.training.trainer import OmniOPDTrainer
from omniopd.training.trainer import build as build_omniopd


def build(parts: TrainerParts) -> OmniOPDTrainer:
    """`OmniOPDTrainer` without a target; its continuations have the recipe's weight, or 1."""
    objective = parts.recipe.objective
    objective = replace(objective, target="none", continuation_weight=objective.continuation_weight or 1.0)
    return build_omniopd(replace(parts, recipe=replace(parts.recipe, objective=objective)))
