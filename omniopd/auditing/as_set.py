"""An audit as a recipe sets it: texts beside chunks at forks, or a scan from one difference to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from omniopd.auditing.chunks import audit
from omniopd.auditing.scan import scan
from omniopd.config import AuditConfig
from omniopd.method.forks import SCHEDULERS
from omniopd.method.tensors import permutations, schedule
from omniopd.models.text.token_text import whole_characters
from omniopd.types import AuditedRollout, Rollout, Similarity, Teacher


def audit_as_set(
    settings: AuditConfig,
    rollouts: Sequence[Rollout],
    teacher: Teacher,
    tokenizer: PreTrainedTokenizerBase,
    chooser: torch.Generator,
    seed: int,
    similarity: Similarity,
    tokens_per_student_token: float = 1.0,
    first_row: int = 0,
    **more: Any,
) -> list[AuditedRollout]:
    """The rollouts, audited. `chooser` draws where the scheduler does; `more` goes to `chunks.audit`."""
    s = settings
    if s.way == "scan":

        def order(rollout: Rollout) -> list[int]:
            return list(SCHEDULERS[s.scheduler].order(rollout.entropies.tolist(), permutations(chooser)))

        return scan(
            rollouts, teacher, tokenizer, longest=s.chunk_tokens, samples=s.samples, texts=s.forks, order=order,
            at_once=s.at_once, seed=seed, tokens_per_student_token=tokens_per_student_token, first_row=first_row,
        )  # fmt: skip
    forks = [
        schedule(s.scheduler, r.entropies, s.forks, s.chunk_tokens, chooser, allowed=whole_characters(r.pieces))
        for r in rollouts
    ]
    return audit(
        rollouts, forks, teacher, similarity, s.samples, tokenizer=tokenizer, seed=seed,
        tokens_per_student_token=tokens_per_student_token, first_row=first_row, **more,
    )  # fmt: skip
