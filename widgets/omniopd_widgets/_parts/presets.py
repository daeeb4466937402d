"""Settings by name that the workbench offers beside the recipe's, each with what it reached in the lab."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omniopd_widgets._parts.safe import JsonObject, to_json

# docs/results.md: right answers at the best temperature after 2,560 answers of the embedded student, 95% intervals.
_LABELS = {
    "audit.way": "chunks", "audit.forks": 16, "audit.chunk_tokens": 1, "audit.samples": 8, "audit.scheduler": "peak",
    "audit.similarity": "exact", "objective.target": "labels", "objective.anchor_weight": 0.3,
}  # fmt: skip
_PAPER = {
    "audit.forks": 4, "audit.chunk_tokens": 6, "audit.samples": 10, "audit.similarity": "characters",
    "objective.target": "paper",
}  # fmt: skip
_FOUND = {
    "labels": (_LABELS, "labels at forks took the embedded student from 26.1% right to 90.7% [89.8, 91.6]"),
    "paper": (_LABELS | _PAPER, "the paper's chunks took it from 26.1% to 29.5% [21.4, 37.6]: not shown to learn"),
}  # fmt: skip


def presets(recipe: Mapping[str, Any]) -> list[JsonObject]:
    """The recipe's own settings, and the others: `{"name": …, "about": …, "settings": …}` each."""
    own = {"name": "as the recipe", "about": "", "settings": dict(recipe)}
    named = [
        {"name": name, "about": about, "settings": {**recipe, **settings}} for name, (settings, about) in _FOUND.items()
    ]
    return [to_json(preset) for preset in (own, *named)]
