"""OmniOPD: distil a teacher that can only be read. The names below load their modules when first used."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "AuditedRollout": "types",
    "BudgetedTeacher": "teachers.spending.budget",
    "CachedTeacher": "teachers.cache.cached",
    "ChatTemplate": "teachers.handover.template",
    "Continuations": "types",
    "ContinuationRequest": "types",
    "Fork": "types",
    "HostedTeacher": "teachers.hosted.teacher",
    "LocalTeacher": "teachers.local",
    "OmniOPDConfig": "training.trainer",
    "OmniOPDTrainer": "training.trainer",
    "PrivilegedTeacher": "teachers.privileged",
    "Prompt": "types",
    "Rollout": "types",
    "ScriptedTeacher": "teachers.scripted",
    "audit": "auditing",
    "chunk_probability": "method.posterior",
    "edit_similarity": "method.tensors",
    "embedded": "embedded",
    "embedding_similarity": "models.embedding",
    "evaluate": "evaluation.evaluate",
    "exact_similarity": "method.tensors",
    "load_recipe": "config",
    "omniopd_loss": "method.loss",
    "open_run": "runs.store",
    "peak_forks": "method.tensors",
    "posterior_mean": "method.posterior",
    "rouge1_similarity": "method.tensors",
    "runs": "runs",
    "sample": "models.sampling",
    "score": "models.score",
    "token_edit_similarity": "method.tensors",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"omniopd has no name {name!r}; it offers {', '.join(__all__)}")
    module = importlib.import_module(f"omniopd.{_HOME[name]}")
    # `omniopd.embedded` and `omniopd.runs` are packages that can be called: the package itself is the name.
    value = module if _HOME[name] == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
