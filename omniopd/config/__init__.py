"""A recipe: everything a run is asked to do, as frozen dataclasses ⇄ TOML. What they build is `build.py`'s."""

from omniopd.config.checks import check
from omniopd.config.reading import (
    assigned,
    load_recipe,
    override,
    recipe_from,
    recipe_path,
    recipe_toml,
    with_settings,
)
from omniopd.config.settings import (
    CONTROLS,
    HANDOVERS,
    METHODS,
    SCHEDULERS,
    SIMILARITIES,
    TARGETS,
    AuditConfig,
    EvaluationConfig,
    ObjectiveConfig,
    Recipe,
    StudentConfig,
    TaskConfig,
    TeacherConfig,
    TrainingConfig,
)

__all__ = [
    "CONTROLS",
    "HANDOVERS",
    "METHODS",
    "SCHEDULERS",
    "SIMILARITIES",
    "TARGETS",
    "AuditConfig",
    "EvaluationConfig",
    "ObjectiveConfig",
    "Recipe",
    "StudentConfig",
    "TaskConfig",
    "TeacherConfig",
    "TrainingConfig",
    "assigned",
    "check",
    "load_recipe",
    "override",
    "recipe_from",
    "recipe_path",
    "recipe_toml",
    "with_settings",
]
