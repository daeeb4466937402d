"""What makes two teachers the same for a cache: everything that changes the distribution of their texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omniopd.errors import ConfigError
from omniopd.types import Teacher


def identity_of(teacher: Teacher) -> Mapping[str, Any]:
    """A teacher's own account of itself (its `identity`, numbers and strings). Raises ConfigError where it has none."""
    identity = getattr(teacher, "identity", None)
    if not isinstance(identity, Mapping):
        raise ConfigError(
            f"a {type(teacher).__name__} does not say who it is, so its texts cannot be told from another's: give it "
            "an `identity`, a dictionary of everything that changes its texts"
        )
    return identity


def sampling_of(teacher: object) -> dict[str, Any]:
    """How a teacher samples, below whatever keeps its answers and its budget; nothing of one that does not say."""
    while hasattr(teacher, "teacher"):
        teacher = teacher.teacher
    names = ("temperature", "top_p", "batch_tokens")
    return {name: getattr(teacher, name) for name in names if hasattr(teacher, name)}
