"""The methods that a student can be trained by, one entry each: what a recipe's `method` may be, and means.

To add one, write its trainer and a function that builds it, in a file under `training/baselines/`, and add its entry to
the table below. Recipes' checks, estimates, the choice of a teacher, trainers and reports read the entry. It names its
builder instead of importing it, so that a recipe is checked without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal

from omniopd.config.settings import AuditConfig, ObjectiveConfig, Recipe
from omniopd.errors import ConfigError
from omniopd.method.controls import CONTROLS
from omniopd.method.registry import Registry
from omniopd.method.targets import TARGETS


@dataclass(frozen=True, slots=True)
class Method:
    """One way to train.

    Attributes:
        name: the word of the recipe.
        builder: `module:function`, called with `training.parts.TrainerParts`; returns the trainer.
        reads: what it sees of a teacher: texts it writes, logits of one that runs here, nothing.
        cost: what one rollout takes of a teacher that writes: texts at its forks, one whole answer, nothing.
        controls: the control experiments it knows, where that depends on the objective as a function of it.
        label: what the student learns from, as tables call it; a function where that depends on the recipe.
        check: raises ConfigError for a recipe that this method cannot train.
    """

    name: str
    builder: str
    reads: Literal["texts", "logits", "nothing"]
    cost: Literal["forks", "answers", "nothing"]
    controls: tuple[str, ...] | Callable[[ObjectiveConfig], tuple[str, ...]]
    label: str | Callable[[Recipe], str]
    check: Callable[[Recipe], None] = lambda recipe: None

    def __post_init__(self) -> None:
        if (self.reads == "texts") != (self.cost != "nothing"):
            raise ConfigError(
                f"method {self.name!r} reads {self.reads} and costs {self.cost}: one that reads texts costs texts at "
                'forks or whole answers ("forks", "answers"), any other "nothing"'
            )

    def controls_of(self, objective: ObjectiveConfig) -> tuple[str, ...]:
        return self.controls(objective) if callable(self.controls) else self.controls

    def label_of(self, recipe: Recipe) -> str:
        return self.label(recipe) if callable(self.label) else self.label

    def build(self, parts: Any) -> Any:
        """The trainer of these `TrainerParts`."""
        return resolve_name(self.builder)(parts)


def _controls(objective: ObjectiveConfig) -> tuple[str, ...]:
    if objective.continuation_weight > 0:
        return tuple(name for name, control in CONTROLS.items() if control.asks_student or control.shows_others)
    return tuple(name for name, control in CONTROLS.items() if TARGETS[objective.target].allows(control))


def _in_words(recipe: Recipe) -> str:
    """The target, the audit's size, and what else is not usual."""
    audit, objective = recipe.audit, recipe.objective
    size = [f"forks {audit.forks}"] if audit.forks else []
    said = [f"text: {objective.target}", *size, f"samples {audit.samples}", f"length {audit.chunk_tokens}"]
    if audit.way == "scan":
        said.insert(1, "scan")
    elif (target := TARGETS.get(objective.target)) is None or target.gives == "weights":
        said.append(audit.similarity)
    if audit.scheduler != AuditConfig().scheduler:
        said.append(f"{audit.scheduler} forks")
    if objective.concentration != ObjectiveConfig().concentration:
        said.append(f"concentration {objective.concentration:g}")
    if objective.anchor_weight == 0:
        said.append("no anchor")
    if recipe.teacher.shown:
        said.append("teacher sees more")
    learns = ", ".join(said)
    return learns if objective.control == "none" else f"{learns}; control: {objective.control}"


def _check_groups(recipe: Recipe) -> None:
    training = recipe.training
    if training.group < 2 or training.micro_batch % training.group:
        raise ConfigError(
            f"training.group is {training.group}: grpo compares at least 2 answers of a prompt, and "
            f"training.micro_batch ({training.micro_batch}) must hold whole groups"
        )


def _check_texts(recipe: Recipe) -> None:
    if recipe.audit.way == "scan":
        raise ConfigError(
            f'method is "{recipe.method}" and audit.way "scan": it learns whole texts at forks, and a scan leaves them '
            'at their first difference; set audit.way="chunks"'
        )


def _check_passes(recipe: Recipe) -> None:
    training = recipe.training
    if training.passes > training.steps:
        raise ConfigError(
            f"training.passes is {training.passes}, and training.steps {training.steps}: a pass is a step at least, so "
            "lower it"
        )


_TRAINING = "omniopd.training"
_BASELINES = f"{_TRAINING}.baselines"
METHODS = Registry(
    "method",
    Method("omniopd", f"{_TRAINING}.trainer:build", "texts", "forks", _controls, _in_words),
    Method(
        "continuations", f"{_BASELINES}.continuations:build", "texts", "forks", ("self_teacher", "other_context"),
        "text: continuation cross-entropy", _check_texts,
    ),
    Method("white_box", f"{_BASELINES}.white_box:build", "logits", "nothing", (), "logits: full vocabulary"),
    Method(
        "white_box_sampled", f"{_BASELINES}.white_box_sampled:build", "logits", "nothing", ("self_teacher",),
        "logits: the student's tokens",
    ),
    Method("sft", f"{_BASELINES}.sft:build", "texts", "answers", (), "SFT on teacher answers", _check_passes),
    Method("grpo", f"{_BASELINES}.grpo:build", "nothing", "nothing", (), "GRPO with the grader", _check_groups),
)  # fmt: skip
