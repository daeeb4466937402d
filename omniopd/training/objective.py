"""The loss of one micro-batch: from the student's hidden states to `method.loss`, without full logits.

Knows the trainer's batch by its names and the models by their states; knows no trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from omniopd.method.loss import loss_coefficients
from omniopd.models.scoring import Head, head_of, response_hidden, token_statistics, weighted_head_loss
from omniopd.training.statistics import LossSums


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The frozen reference's view of a micro-batch: its states per response token, and its head."""

    hidden: Float[Tensor, "batch time hidden"]
    head: Head


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatchLoss:
    """`total` carries the gradient. `anchor_kl` is per response token, 0 at padding."""

    total: Float[Tensor, ""]
    anchor_kl: Float[Tensor, "batch time"]
    entropy_sum: Float[Tensor, ""]
    tokens: Int[Tensor, ""]
    sums: LossSums


def micro_batch_loss(
    student: nn.Module,
    inputs: Mapping[str, Tensor],
    reference: Reference | None,
    anchor_weight: float,
    normaliser: float,
    temperature: float = 1.0,
) -> MicroBatchLoss:
    """Chunk term (with labels and continuations) and anchor over `normaliser`; plus what the log wants to know.

    `inputs` holds prompt and completion ids and masks, and a `TargetBatch` by its names.
    """
    mask = inputs["completion_mask"].bool()
    ids, attention, time = _sequence(inputs)
    hidden = response_hidden(student, ids, attention, time)[mask]
    targets, head = inputs["completion_ids"][mask], head_of(student)
    coefficients = loss_coefficients(
        inputs["weights"], inputs["anchored"], anchor_weight, normaliser, inputs["label_weights"]
    )
    # A reference without a weight would be projected for nothing; its divergence is still logged below.
    anchoring = reference is not None and anchor_weight > 0
    has_labels = inputs["label_ids"].shape[-1] > 0
    found = weighted_head_loss(
        hidden,
        head,
        targets,
        coefficients.chunk[mask],
        reference_hidden=reference.hidden[mask] if anchoring else None,
        reference_head=reference.head if anchoring else None,
        anchor_weights=coefficients.anchor[mask] if anchoring else None,
        label_ids=inputs["label_ids"][mask] if has_labels else None,
        label_weights=coefficients.labels[mask] if has_labels else None,
        temperature=temperature,
    )
    total, chunk = found.total, found.chunk + found.labels
    if bool((inputs["continuation_weights"] > 0).any()):
        extra = continuation_loss(student, inputs, normaliser, temperature)
        total, chunk = total + extra, chunk + extra.detach()

    audited, anchored = inputs["audited"][mask], inputs["anchored"][mask]
    logprobs, entropies, anchor_kl = _everywhere(hidden, head, targets, reference, mask, temperature)
    sums = LossSums()
    sums.add(
        chunk=chunk,
        anchor=found.anchor,
        chunk_unscaled=chunk * normaliser,
        audited=audited.sum(),
        anchored=anchored.sum(),
        kl_audited=anchor_kl[audited].sum(),
        kl_anchored=anchor_kl[anchored].sum(),
    )
    sums.lowest("logprob", logprobs[audited])
    spread = anchor_kl.new_zeros(mask.shape).masked_scatter(mask, anchor_kl)
    return MicroBatchLoss(total, spread, entropies.sum(), mask.sum(), sums)


@torch.no_grad()
def _everywhere(
    hidden: Float[Tensor, "tokens hidden"],
    head: Head,
    targets: Int[Tensor, " tokens"],
    reference: Reference | None,
    mask: Bool[Tensor, "batch time"],
    temperature: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Statistics of every response token: the loss visits only those with a weight, the log speaks of all."""
    found = token_statistics(
        hidden.detach(),
        head,
        targets,
        reference_hidden=None if reference is None else reference.hidden[mask],
        reference_head=None if reference is None else reference.head,
        temperature=temperature,
    )
    anchor_kl = torch.zeros_like(found.logprobs) if found.anchor_kl is None else found.anchor_kl
    return found.logprobs, found.entropies, anchor_kl


def continuation_loss(
    student: nn.Module,
    inputs: Mapping[str, Tensor],
    normaliser: float,
    temperature: float = 1.0,
    rows_at_once: int = 64,
) -> Float[Tensor, ""]:
    """Cross-entropy of the student on the teacher's continuations, each after its own prefix (states of the student).

    Every different text is a row of its own: prompt, the response up to the fork, the text. Costs their forwards.
    """
    weights = inputs["continuation_weights"]
    row, text = (weights > 0).nonzero(as_tuple=True)
    ids, attention, time = _sequence(inputs)
    prompt = ids.shape[1] - time
    longest = inputs["continuation_ids"].shape[-1]
    total = weights.new_zeros(())
    for part in torch.arange(len(row), device=row.device).split(rows_at_once):
        r, k = row[part], text[part]
        start, length = inputs["continuation_starts"][r, k], inputs["continuation_lengths"][r, k]
        # Shift each row so that its text begins at column prompt + time, right behind its prefix.
        columns = torch.arange(prompt + time + longest, device=ids.device)
        shift = time - start
        source = columns[None, :] - shift[:, None]
        in_prefix = (source >= 0) & (source < (prompt + start)[:, None])
        offset = source - (prompt + start)[:, None]
        in_text = (offset >= 0) & (offset < length[:, None])
        prefix = ids[r].gather(1, source.clamp(0, ids.shape[1] - 1))
        added = inputs["continuation_ids"][r, k].gather(1, offset.clamp(0, longest - 1))
        sequence = torch.where(in_text, added, prefix)
        attended = in_text | (in_prefix & attention[r].gather(1, source.clamp(0, ids.shape[1] - 1)).bool())
        keep = int(attended.any(0).int().argmax())
        hidden = response_hidden(student, sequence[:, keep:], attended[:, keep:].long(), longest)
        wanted = in_text[:, -longest:]
        token_weights = (weights[r, k] / normaliser)[:, None].expand(-1, longest)[wanted]
        head = head_of(student)
        total = (
            total
            + weighted_head_loss(
                hidden[wanted], head, sequence[:, -longest:][wanted], token_weights, temperature=temperature
            ).total
        )
    return total


def _sequence(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, int]:
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    return ids, attention, inputs["completion_ids"].shape[1]
