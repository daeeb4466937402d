"""The trainer's settings: TRL's, and the method's in the words of the recipe; and a recipe in the trainers' words."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from transformers.trainer_utils import IntervalStrategy
from trl import DistillationConfig

from omniopd.config import SETTINGS, AuditConfig, ObjectiveConfig, Recipe, allowed, check_setting, every_setting
from omniopd.config.checks import check_audit, check_objective, check_overlap
from omniopd.config.settings import SERVED, TRANSFORMERS
from omniopd.config.sharing import check_waves, micro_batches
from omniopd.errors import ConfigError
from omniopd.io import processes
from omniopd.method.controls import CONTROLS
from omniopd.method.targets import TARGETS
from omniopd.training.devices import device_of

# Where a recipe has the setting of each name here: all of an audit and of an objective, and some more.
RECIPE_KEYS = {
    **{f.name: f"audit.{f.name}" for f in fields(AuditConfig)},
    **{f.name: f"objective.{f.name}" for f in fields(ObjectiveConfig) if f.name != "length"},
    "normaliser_length": "objective.length",
    "tokens_per_student_token": "teacher.tokens_per_student_token",
    "waves": "training.waves",
    "staleness": "training.staleness",
    "record_every": "training.record_every",
    "keep_checkpoints": "training.keep",
    "max_unanswered_share": "training.max_unanswered_share",
    "max_equal_share": "training.max_equal_share",
    "allow_zero_gradient": "training.allow_zero_gradient",
    "allow_off_policy": "student.allow_off_policy",
}

_NAMES = {f.name for f in fields(DistillationConfig)}
# Newer transformers give the setting a new name and warn of the old one.
_CHECKPOINTING = "activation_checkpointing" if "activation_checkpointing" in _NAMES else "gradient_checkpointing"


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
    `tokens_per_student_token`, `waves`, `staleness`, `record_every` (0 here: never), `keep_checkpoints`,
    `max_unanswered_share`, `max_equal_share`, `allow_zero_gradient` and `allow_off_policy`.
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
        check_audit(self.audit, self.objective, "", "")
        check_objective(self.objective)
        check_overlap(self.waves, self.staleness, self.audit, self.objective)
        check_waves(self.waves, self.gradient_accumulation_steps)
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

    @property
    def audit(self) -> AuditConfig:
        """The settings of an audit, as a recipe holds them."""
        return AuditConfig(**{f.name: getattr(self, f.name) for f in fields(AuditConfig)})

    @property
    def reads_student(self) -> bool:
        """Whether what is asked and learnt hangs on the student's own numbers. Labels of whole answers do not: nobody
        then scores an answer before the loss, but to record it."""
        whole = self.way == "scan" and self.forks == 0 and self.at_once == 1
        return not (whole and TARGETS[self.target].labelled and CONTROLS[self.control].texts)


def trainer_settings(recipe: Recipe, output: Path) -> OmniOPDConfig:
    """All settings of a trainer that samples the student."""
    own = {name: attrgetter(key)(recipe) for name, key in RECIPE_KEYS.items()}
    return OmniOPDConfig(**run_settings(recipe, output), **sampling_settings(recipe), **own)


def run_settings(recipe: Recipe, output: Path) -> dict[str, Any]:
    """How long, how fast and on what: what each of TRL's trainers takes."""
    training, on_cpu = recipe.training, device_of(recipe) == "cpu"
    micro_batch, accumulation = micro_batches(training.rollouts, training.micro_batch, processes.count())
    # The default is transformers' own, which is left to it.
    optimizer = {} if training.optimizer == "adamw" else {"optim": training.optimizer}
    warms_up = training.schedule == "constant" and training.warmup_steps > 0
    return {
        "output_dir": str(output),
        "seed": recipe.seed,
        "max_steps": training.steps,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if warms_up else training.schedule,
        "warmup_steps": training.warmup_steps,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        **optimizer,
        "use_cpu": on_cpu,
        "bf16": training.precision == "bfloat16",
        _CHECKPOINTING: training.gradient_checkpointing,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not on_cpu,
        "save_strategy": "steps",
        "save_steps": training.save_every,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "report_to": [],  # a tracker gets the run's records (runs/trackers.py), evaluations and all
        "disable_tqdm": True,
    }


def sampling_settings(recipe: Recipe) -> dict[str, Any]:
    """How the student answers."""
    student = recipe.student
    return {
        "max_completion_length": student.max_tokens,
        "temperature": student.temperature,
        "top_p": student.top_p,
        "top_k": student.top_k,
        "use_vllm": student.sampler != TRANSFORMERS,
        "vllm_mode": "server" if student.sampler == SERVED else "colocate",
        "vllm_server_base_url": student.server or None,
    }
