"""A recipe: everything a run is asked to do, as frozen dataclasses ⇄ TOML. What they build is `build.py`'s."""

from omniopd.config.bounds import SETTINGS, Setting, allowed, check_setting, every_setting
from omniopd.config.checks import check
from omniopd.config.composing import compose, load_recipe, recipe_path
from omniopd.config.handovers import HANDOVERS, HandoverEntry
from omniopd.config.methods import METHODS, Method
from omniopd.config.reading import (
    assigned,
    dotted,
    override,
    recipe_from,
    recipe_toml,
    toml,
    with_settings,
)
from omniopd.config.settings import (
    AuditConfig,
    EvaluationConfig,
    ObjectiveConfig,
    Recipe,
    StudentConfig,
    TaskConfig,
    TeacherConfig,
    TrainingConfig,
)
from omniopd.method.controls import CONTROLS
from omniopd.method.forks import SCHEDULERS
from omniopd.method.similarity import SIMILARITIES
from omniopd.method.targets import TARGETS

__all__ = [
    "CONTROLS",
    "HANDOVERS",
    "METHODS",
    "SCHEDULERS",
    "SETTINGS",
    "SIMILARITIES",
    "TARGETS",
    "AuditConfig",
    "EvaluationConfig",
    "HandoverEntry",
    "Method",
    "ObjectiveConfig",
    "Recipe",
    "Setting",
    "StudentConfig",
    "TaskConfig",
    "TeacherConfig",
    "TrainingConfig",
    "allowed",
    "assigned",
    "check",
    "check_setting",
    "compose",
    "dotted",
    "every_setting",
    "load_recipe",
    "override",
    "recipe_from",
    "recipe_path",
    "recipe_toml",
    "toml",
    "with_settings",
]
