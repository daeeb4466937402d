"""Between TRL's batch and the audit: rows to prompts, tensors to rollouts, a process's own part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from omniopd.method.evidence import ForkTarget
from omniopd.models.text.conversation import conversation
from omniopd.models.text.token_text import pieces
from omniopd.types import AuditedRollout, Prompt, Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def as_prompts(rows: Sequence[Mapping[str, Any]]) -> list[Prompt]:
    """The prompts of a data set's rows; a plain text is a user's message, a missing id a hash of the messages."""
    found = []
    for row in rows:
        messages = conversation(row["prompt"], "a prompt of the training data")
        answer, solution = (None if row.get(key) is None else str(row[key]) for key in ("answer", "solution"))
        name = row.get("id") or hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()[:16]
        found.append(Prompt(str(name), messages, answer, solution))
    return found


def as_rollouts(
    prompts: Sequence[Prompt],
    batch: Mapping[str, Tensor],
    logprobs: Float[Tensor, "batch time"],
    entropies: Float[Tensor, "batch time"],
    tokenizer: PreTrainedTokenizerBase,
    end_ids: Sequence[int],
) -> list[Rollout]:
    """One rollout per row of TRL's batch, on the CPU and without padding."""
    rollouts = []
    for row, prompt in enumerate(prompts):
        mask = batch["completion_mask"][row].bool().cpu()
        ids = batch["completion_ids"][row].cpu()[mask]
        rollouts.append(
            Rollout(
                prompt=prompt,
                prompt_ids=batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].cpu(),
                token_ids=ids,
                logprobs=logprobs[row][mask],
                entropies=entropies[row][mask],
                pieces=pieces(tokenizer, ids.tolist()),
                finish="stop" if len(ids) and int(ids[-1]) in end_ids else "length",
            )
        )
    return rollouts


def local_shard(
    audited: Sequence[AuditedRollout], targets: Sequence[ForkTarget], first: int, count: int
) -> tuple[list[AuditedRollout], list[list[ForkTarget]]]:
    """The audits and targets of rows `first` … `first + count` − 1 of the global batch, targets by row."""
    remaining = iter(targets)
    by_row = [[next(remaining) for _ in item.audits] for item in audited]
    return list(audited[first : first + count]), by_row[first : first + count]
