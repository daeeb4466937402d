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
from omniopd.method.posterior import posterior_kl, posterior_label_weights
from omniopd.models.token_stats import (
    Head,
    head_of,
    label_costs,
    label_logprobs,
    response_hidden,
    token_statistics,
    weighted_head_loss,
)
from omniopd.training.continuations import continuation_loss, continuation_parts
from omniopd.training.statistics import LossSums


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The frozen reference's view of a micro-batch: its states per response token, and its head."""

    hidden: Float[Tensor, "batch time hidden"]
    head: Head


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatchLoss:
    """`total` carries the gradient. `anchor_kl` and `label_nll` (Σ label weight · −log π, or KL(π_θ ‖ π̂), before β and
    the normaliser; None where not asked for) are per response token, 0 at padding."""

    total: Float[Tensor, ""]
    anchor_kl: Float[Tensor, "batch time"]
    entropy_sum: Float[Tensor, ""]
    tokens: Int[Tensor, ""]
    sums: LossSums
    label_nll: Float[Tensor, "batch time"] | None = None


def micro_batch_loss(
    student: nn.Module,
    inputs: Mapping[str, Tensor],
    reference: Reference | None,
    anchor_weight: float,
    normaliser: float,
    temperature: float = 1.0,
    continuation_forwards: int | None = None,
    record: bool = False,
    concentration: float | None = None,
) -> MicroBatchLoss:
    """Chunk term (with labels and continuations) and anchor over `normaliser`; plus what the log wants to know.

    `inputs` holds prompt and completion ids and masks, and a `TargetBatch` by its names; `continuation_forwards` is
    that of `continuation_loss`; `record` asks for `label_nll`. With a `concentration` the label weights are counts of
    the target `posterior_kl`.
    """
    mask = inputs["completion_mask"].bool()
    ids, attention, time = _sequence(inputs)
    hidden = response_hidden(student, ids, attention, time)[mask]
    targets, head = inputs["completion_ids"][mask], head_of(student)
    has_labels = inputs["label_ids"].shape[-1] > 0
    label_weights, divergence = inputs["label_weights"], None
    if has_labels and concentration is not None:
        label_weights, divergence = _posterior_labels(hidden, head, inputs, mask, concentration, temperature)
    coefficients = loss_coefficients(inputs["weights"], inputs["anchored"], anchor_weight, normaliser, label_weights)
    # A reference without a weight would be projected for nothing; its divergence is still logged below.
    anchoring = reference is not None and anchor_weight > 0
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
    total, labels = found.total, found.labels
    if divergence is not None:
        # The weights have the divergence's gradient, not its value.
        labels = divergence.sum() / normaliser
        total = total + (labels - found.labels)
    chunk = found.chunk + labels
    if continuation_parts(student, inputs) if continuation_forwards is None else continuation_forwards:
        extra = continuation_loss(student, inputs, normaliser, temperature, forwards=continuation_forwards)
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
    label_nll = None
    if record and divergence is not None:
        label_nll = _spread(divergence, mask)
    elif record and has_labels:
        costs = label_costs(hidden, head, inputs["label_ids"][mask], inputs["label_weights"][mask], temperature)
        label_nll = _spread(costs, mask)
    return MicroBatchLoss(total, _spread(anchor_kl, mask), entropies.sum(), mask.sum(), sums, label_nll)


def _posterior_labels(
    hidden: Tensor, head: Head, inputs: Mapping[str, Tensor], mask: Tensor, concentration: float, temperature: float
) -> tuple[Float[Tensor, "batch time label"], Float[Tensor, " tokens"]]:
    """Counts as `posterior_label_weights`, and KL(π_θ ‖ π̂) of each response token (0 without counts)."""
    ids, counts = inputs["label_ids"][mask], inputs["label_weights"][mask]
    logprobs = label_logprobs(hidden.detach(), head, ids, counts, temperature)
    weights = posterior_label_weights(counts, logprobs, concentration)
    spread = torch.zeros_like(inputs["label_weights"], dtype=weights.dtype)
    spread[mask] = weights
    return spread, posterior_kl(counts, weights, concentration)


def _spread(values: Float[Tensor, " tokens"], mask: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


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


def _sequence(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, int]:
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    return ids, attention, inputs["completion_ids"].shape[1]
