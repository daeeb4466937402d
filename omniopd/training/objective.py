"""The loss of one micro-batch: from the student's hidden states to `method.loss`, without full logits.

Knows the trainer's batch by its names and the models by their states; knows no trainer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from omniopd.method.loss import loss_coefficients
from omniopd.method.posterior import posterior_kl, posterior_label_weights
from omniopd.models.architecture.backbone import head_of
from omniopd.models.batching import sequences
from omniopd.models.chunked_stats import Labels, Reference
from omniopd.models.token_stats import response_hidden, weighted_head_loss
from omniopd.training.continuations import continuation_loss, continuation_parts
from omniopd.training.statistics import LossSums


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatchLoss:
    """`total` carries the gradient. `anchor_kl` and `label_nll` (Σ label weight · −log π, or KL(π_θ ‖ π̂), before β and
    the normaliser; None without labels) are per response token, 0 at padding."""

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
    concentration: float | None = None,
) -> MicroBatchLoss:
    """Chunk term (with labels and continuations) and anchor over `normaliser`; plus what the log wants to know.

    `inputs` holds prompt and completion ids and masks, and a `TargetBatch` by its names; `continuation_forwards` is
    that of `continuation_loss`. With a `concentration` the label weights are counts of the target `posterior_kl`.
    """
    mask = inputs["completion_mask"].bool()
    hidden = response_hidden(student, *sequences(inputs))[mask]
    coefficients = loss_coefficients(inputs["weights"], inputs["anchored"], anchor_weight, normaliser)
    counts = inputs["label_weights"][mask]

    def label_weights(counts: Tensor, logprobs: Tensor) -> Tensor:
        return counts if concentration is None else posterior_label_weights(counts, logprobs, concentration)

    labels = None
    if counts.shape[-1] > 0:
        labels = Labels(
            inputs["label_ids"][mask], counts, lambda counts, logprobs: label_weights(counts, logprobs) / normaliser
        )
    found = weighted_head_loss(
        hidden,
        head_of(student),
        inputs["completion_ids"][mask],
        coefficients.chunk[mask],
        reference=None if reference is None else Reference(reference.hidden[mask], reference.head),
        anchor_weights=None if reference is None else coefficients.anchor[mask],
        labels=labels,
        temperature=temperature,
        everywhere=True,  # the loss needs only tokens with a weight, the log speaks of all
    )
    total, of_labels, label_nll = found.total, found.labels, None
    if labels is not None:
        weights = label_weights(counts, found.label_logprobs)
        if concentration is None:
            label_nll = torch.where(weights != 0, -weights * found.label_logprobs, 0).sum(-1)
        else:
            label_nll = posterior_kl(counts, weights, concentration)
            # The weights have the divergence's gradient, not its value.
            of_labels = label_nll.sum() / normaliser
            total = total + (of_labels - found.labels)
    chunk = found.chunk + of_labels
    if continuation_parts(student, inputs) if continuation_forwards is None else continuation_forwards:
        extra = continuation_loss(student, inputs, normaliser, temperature, forwards=continuation_forwards)
        total, chunk = total + extra, chunk + extra.detach()

    audited, anchored = inputs["audited"][mask], inputs["anchored"][mask]
    anchor_kl = torch.zeros_like(found.logprobs) if reference is None else found.anchor_kl
    measured = 1.0 if reference is not None else math.nan  # what was not measured is not 0 in the log
    sums = LossSums()
    sums.add(
        chunk=chunk,
        anchor=found.anchor,
        chunk_unscaled=chunk * normaliser,
        audited=audited.sum(),
        anchored=anchored.sum(),
        kl_audited=measured * anchor_kl[audited].sum(),
        kl_anchored=measured * anchor_kl[anchored].sum(),
    )
    sums.lowest("logprob", found.logprobs[audited])
    return MicroBatchLoss(
        total,
        _spread(anchor_kl, mask),
        found.entropies.sum(),
        mask.sum(),
        sums,
        None if label_nll is None else _spread(label_nll, mask),
    )


def _spread(values: Float[Tensor, " tokens"], mask: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
