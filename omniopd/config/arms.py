"""Which settings make an arm: runs that differ in others only are one, with their seeds as units."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# How a run is watched, kept or paid for, and not what it learns.
_NOT_THE_ARM = (
    "seed", "name", "training.save_every", "training.record_every", "training.keep", "training.threads",
    "training.report_to", "teacher.cache", "teacher.replay", "teacher.budget_usd", "teacher.ask_above_usd",
    "teacher.concurrency", "teacher.call_timeout_s", "teacher.batch_deadline_s", "teacher.requests_per_minute",
    "teacher.tokens_per_minute", "teacher.stream", "teacher.parted_costs", "teacher.api_base", "teacher.key_variable",
    "teacher.allow_unknown_price", "teacher.usd_per_million_input", "teacher.usd_per_million_output",
    "teacher.batch_tokens", "student.server", "task.run_programs", "training.waves", "training.device",
    "training.max_unanswered_share", "training.max_equal_share", "training.allow_zero_gradient",
)  # fmt: skip
_MEASURING = "evaluation."  # what was measured must be alike, which is looked up in the records
_APART: dict[str, set[str]] = {}  # the same by section: a thousand recipes are marked at once
for _name in _NOT_THE_ARM:
    _section, _, _key = _name.rpartition(".")
    _APART.setdefault(_section, set()).add(_key)


def makes_an_arm(key: str) -> bool:
    """Whether a setting, by its dotted name, is part of what a run learns."""
    return key not in _NOT_THE_ARM and not key.startswith(_MEASURING)


def arm_mark(recipe: Mapping[str, Any]) -> str:
    """A mark, equal for recipes whose settings make the same arm, as they were written: one that a version before did
    not know makes another."""
    kept: dict[str, Any] = {}
    for section, part in recipe.items():
        if isinstance(part, Mapping):
            kept[section] = {key: value for key, value in part.items() if key not in _APART.get(section, ())}
        elif section not in _NOT_THE_ARM:
            kept[section] = part
    kept.pop(_MEASURING.rstrip("."), None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:12]
