"""The trainer's settings: TRL's, and the method's in the words of the recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from transformers.trainer_utils import IntervalStrategy
from trl import DistillationConfig

from omniopd.config import SETTINGS, AuditConfig, ObjectiveConfig, Recipe, allowed, check_setting, every_setting
from omniopd.config.checks import check_objective
from omniopd.errors import ConfigError

# Where a recipe has the setting of each name here: all of an audit and of an objective, and some more.
RECIPE_KEYS = {
    **{f.name: f"audit.{f.name}" for f in fields(AuditConfig)},
    **{f.name: f"objective.{f.name}" for f in fields(ObjectiveConfig) if f.name != "length"},
    "normaliser_length": "objective.length",
    "tokens_per_student_token": "teacher.tokens_per_student_token",
    "record_every": "training.record_every",
    "keep_checkpoints": "training.keep",
    "max_unanswered_share": "training.max_unanswered_share",
    "max_equal_share": "training.max_equal_share",
    "allow_zero_gradient": "training.allow_zero_gradient",
    "allow_off_policy": "student.allow_off_policy",
}


def _declared(name: str, key: str) -> tuple[str, type, Any]:
    """A field with the type, default and explanation of the recipe's setting."""
    default = 0 if name == "record_every" else attrgetter(key)(Recipe())  # by hand there is seldom a recorder
    words = allowed(key)
    says = f"{SETTINGS[key].says} ({words})" if words else SETTINGS[key].says
    return name, every_setting()[key], field(default=default, metadata={"help": says})


_AsInARecipe: Any = make_dataclass(
    "_AsInARecipe", [_declared(name, key) for name, key in RECIPE_KEYS.items()], bases=(DistillationConfig,)
)


@dataclass
class OmniOPDConfig(_AsInARecipe):
    """Settings of `OmniOPDTrainer`: those of `trl.DistillationConfig`, and those of a recipe's `audit` and `objective`.

    They have the recipe's names, bounds and defaults, which are the paper's: `OmniOPDConfig("run", forks=10,
    samples=10, chunk_tokens=50, target="paper", concentration=1.0, anchor_weight=0.1)`; `omniopd recipes --settings`
    explains each. `normaliser_length` is the objective's `length`, the fixed length that, times the rollouts of the
    global batch, divides the loss (0: `max_completion_length`). Of the recipe's teacher, training and student it has
    `tokens_per_student_token`, `record_every` (0 here: never), `keep_checkpoints`, `max_unanswered_share`,
    `max_equal_share`, `allow_zero_gradient` and `allow_off_policy`.
    """

    # A step is what the records count, so every step is logged.
    logging_steps: float = field(default=1, metadata={"help": "Steps between two logs; only 1."})
    # With dropout the student that samples would be another one than is scored.
    disable_dropout: bool = field(default=True, metadata={"help": "Off only with `allow_off_policy`."})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, key in RECIPE_KEYS.items():
            value = getattr(self, name)
            if isinstance(value, np.generic):  # of a sweep over an array
                setattr(self, name, value := value.item())
            check_setting(key, value, said=name)
        check_objective(self.objective)
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

    @property
    def objective(self) -> ObjectiveConfig:
        """The settings of the objective, as a recipe holds them."""
        keys = {key: name for name, key in RECIPE_KEYS.items()}
        return ObjectiveConfig(**{f.name: getattr(self, keys[f"objective.{f.name}"]) for f in fields(ObjectiveConfig)})
