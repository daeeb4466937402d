"""The trainer's settings: TRL's, and the method's in the words of the recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers.trainer_utils import IntervalStrategy
from trl import DistillationConfig

from omniopd.config import CONTROLS, SCHEDULERS, SIMILARITIES, TARGETS, check_setting
from omniopd.config.checks import check_objective
from omniopd.errors import ConfigError

# Where the bounds of a setting stand that a recipe has too.
_AS_IN_A_RECIPE = {
    **{name: f"audit.{name}" for name in ("forks", "samples", "chunk_tokens", "scheduler", "similarity", "power")},
    **{name: f"objective.{name}" for name in ("target", "control", "concentration", "anchor_weight", "anchor_on")},
    **{name: f"objective.{name}" for name in ("depth", "continuation_weight", "redraws")},
    "embedding_model": "audit.embedding_model", "normaliser_length": "objective.length",
    "tokens_per_student_token": "teacher.tokens_per_student_token", "record_every": "training.record_every",
    "keep_checkpoints": "training.keep", "max_unanswered_share": "training.max_unanswered_share",
    "max_equal_share": "training.max_equal_share", "allow_zero_gradient": "training.allow_zero_gradient",
    "allow_off_policy": "student.allow_off_policy",
}  # fmt: skip


@dataclass
class OmniOPDConfig(DistillationConfig):
    """Settings of `OmniOPDTrainer`: those of `trl.DistillationConfig`, and these.

    Defaults are the paper's (M = 10, N = 10, C = 50, α = 1, β = 0.1; paper.md §0.1). `normaliser_length` is the fixed
    length that, times the rollouts of the global batch, divides both terms (0: `max_completion_length`).
    """

    forks: int = field(default=10, metadata={"help": "M: uncertain positions audited per rollout."})
    samples: int = field(default=10, metadata={"help": "N: teacher continuations per fork."})
    chunk_tokens: int = field(default=50, metadata={"help": "C: student tokens compared at a fork."})
    scheduler: str = field(default="peak", metadata={"help": f"Where forks are: {', '.join(SCHEDULERS)}."})
    similarity: str = field(default="characters", metadata={"help": f"φ: {', '.join(SIMILARITIES)}."})
    power: float = field(default=1.0, metadata={"help": "The similarity is raised to this power."})
    embedding_model: str = field(default="embedded:embedding", metadata={"help": "For similarity `embedding`."})
    target: str = field(default="paper", metadata={"help": f"What an audit becomes: {', '.join(TARGETS)}."})
    control: str = field(default="none", metadata={"help": f"Control experiment: {', '.join(CONTROLS)}."})
    concentration: float = field(default=1.0, metadata={"help": "α: strength of the prior."})
    anchor_weight: float = field(default=0.1, metadata={"help": "β: pull towards the reference model."})
    anchor_on: str = field(default="unaudited", metadata={"help": "Anchored tokens: `unaudited` (paper) or `all`."})
    depth: int = field(default=1, metadata={"help": "Offsets of a chunk that get labels (target `labels`)."})
    continuation_weight: float = field(default=0.0, metadata={"help": "λ: cross-entropy on the teacher's texts."})
    redraws: int = field(default=0, metadata={"help": "K: the student's redraws per fork, as a baseline."})
    normaliser_length: int = field(default=0, metadata={"help": "Fixed length in the normaliser of the loss."})
    tokens_per_student_token: float = field(default=1.0, metadata={"help": "Teacher tokens asked per student token."})
    record_every: int = field(default=0, metadata={"help": "Hand rollouts to the recorder every k steps (0: never)."})
    keep_checkpoints: int = field(default=2, metadata={"help": "Valid checkpoints kept; at least 2."})
    max_unanswered_share: float = field(
        default=0.5, metadata={"help": "Stop when more forks than this fail in a step."}
    )
    max_equal_share: float = field(
        default=0.95, metadata={"help": "Stop when at more forks than this a sampling teacher's texts are all one."}
    )
    allow_zero_gradient: bool = field(default=False, metadata={"help": "Go on after a step that learns nothing."})
    allow_off_policy: bool = field(
        default=False, metadata={"help": "Allow sampling other than T=1, top-p 1, no top-k."}
    )

    # A step is what the records count, so every step is logged.
    logging_steps: float = field(default=1, metadata={"help": "Steps between two logs; only 1."})
    # With dropout the student that samples would be another one than is scored.
    disable_dropout: bool = field(default=True, metadata={"help": "Off only with `allow_off_policy`."})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, key in _AS_IN_A_RECIPE.items():
            value = getattr(self, name)
            if isinstance(value, np.generic):  # of a sweep over an array
                setattr(self, name, value := value.item())
            check_setting(key, value, said=name)
        check_objective(self.target, self.concentration, self.continuation_weight)
        strategy = IntervalStrategy(self.logging_strategy).value
        if (strategy, self.logging_steps) != ("steps", 1):
            raise ConfigError(
                f"logging_strategy is {strategy!r} and logging_steps {self.logging_steps:g}: a record is written of "
                "every step, so leave them at 'steps' and 1"
            )
        if not self.disable_dropout and not self.allow_off_policy:
            raise ConfigError(
                "disable_dropout is False, so that another student would be scored than the one that samples: leave it "
                "True, or set allow_off_policy"
            )
        if self.chunk_tokens > (self.max_completion_length or 0):
            raise ConfigError(
                f"chunk_tokens is {self.chunk_tokens}, longer than a completion ({self.max_completion_length}): "
                "lower it, or raise max_completion_length"
            )
        if self.redraws and "redraws" not in TARGETS[self.target].uses:
            raise ConfigError(
                f"redraws is {self.redraws} with target {self.target!r}: only `centred` has a same-fork baseline"
            )

    def audit_settings(self) -> dict[str, Any]:
        """The settings an audit depends on, for a record."""
        names = ("forks", "samples", "chunk_tokens", "scheduler", "similarity", "power", "target", "control")
        return {name: getattr(self, name) for name in names}
