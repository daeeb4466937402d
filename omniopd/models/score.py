"""Log-probabilities, entropies and KL of answers that exist already, in batches of similar length. Draws nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import nn
from transformers import PreTrainedTokenizerBase

from omniopd.errors import DataError
from omniopd.models.architecture.backbone import check_head
from omniopd.models.architecture.probing import context_length, evaluating
from omniopd.models.batching import packed, rollout_batch, sequences
from omniopd.models.token_stats import sequence_statistics
from omniopd.types import Rollout


def score(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    rollouts: Sequence[Rollout],
    reference: nn.Module | None = None,
    *,
    temperature: float = 1.0,
    batch_tokens: int = 16384,
) -> list[Rollout]:
    """The rollouts with `logprobs` and `entropies` of softmax(logits / temperature), and KL(π_ref‖π) if asked; in nats.

    Over the full vocabulary and by one forward without gradient. `reference` is a frozen model with the same
    vocabulary, or `model` itself where it has a LoRA adapter to switch off; without one, `anchor_kl` stays as it is.
    Raises ConfigError for a model whose logits are not understood, DataError for a text beyond its context.
    """
    for each in (model, reference):
        if each is not None:
            check_head(each)
            _check_room(each, rollouts)
    scored = list(rollouts)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    with evaluating(model):
        for rows in _batches(rollouts, batch_tokens):
            ids, mask, width = sequences(rollout_batch([rollouts[row] for row in rows], pad))
            device = next(model.parameters()).device
            found = sequence_statistics(
                model, ids.to(device), mask.to(device), width, reference=reference, temperature=temperature
            )
            for line, row in enumerate(rows):
                time = len(rollouts[row])
                kl = rollouts[row].anchor_kl if found.anchor_kl is None else found.anchor_kl[line, :time].cpu()
                scored[row] = replace(
                    rollouts[row],
                    logprobs=found.logprobs[line, :time].cpu(),
                    entropies=found.entropies[line, :time].cpu(),
                    anchor_kl=kl,
                )
    return scored


def _check_room(model: nn.Module, rollouts: Sequence[Rollout]) -> None:
    room = context_length(model)
    for rollout in rollouts:
        length = len(rollout.prompt_ids) + len(rollout)
        if length > room:
            raise DataError(
                f"prompt {rollout.prompt.id!r} and its answer have {length} tokens, and the model reads {room}: "
                "shorten the answer, or leave it out"
            )


def _batches(rollouts: Sequence[Rollout], batch_tokens: int) -> Iterator[list[int]]:
    def padded(rows: Sequence[int]) -> int:
        return len(rows) * (max(len(rollouts[r].prompt_ids) for r in rows) + max(len(rollouts[r]) for r in rows))

    # A rollout without tokens has nothing to score.
    rows = [row for row, rollout in enumerate(rollouts) if len(rollout)]
    return packed(sorted(rows, key=lambda r: (len(rollouts[r].prompt_ids) + len(rollouts[r]), r)), padded, batch_tokens)
