"""Per-token log-probability, entropy and KL(π_ref‖π_θ), and the loss made of them, without full logits.

On a GPU the loss runs on TRL's chunked kernels, elsewhere on our own walk over the tokens (`chunked_stats`), which
computes the gradient in the forward.
This is also the only file that shifts by one: hidden state i speaks of token i + 1, and everything that leaves here
is indexed by the token that it speaks of. Knows no trainer, no audit and no target.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from omniopd.errors import ConfigError
from omniopd.models.architecture.backbone import as_reference, head_of, sequence_hidden
from omniopd.models.chunked_stats import (
    GradientInForward,
    Head,
    HeadInputs,
    Labels,
    LossTerms,
    Reference,
    walk,
)

# TRL's own tile width for divergences; its log-probabilities then use the same.
_TRL_COLUMNS = 32_768


@dataclass(frozen=True, slots=True, eq=False)
class TokenStatistics:
    """In nats, over the full vocabulary. Index t (of `*shape`) is the distribution that produced token t."""

    logprobs: Float[Tensor, "*shape"]
    entropies: Float[Tensor, "*shape"]
    anchor_kl: Float[Tensor, "*shape"] | None


@dataclass(frozen=True, slots=True, eq=False)
class HeadLoss:
    """`total` = chunk + anchor + labels carries the gradient; everything else is detached.

    Per token, NaN where no term asked: `logprobs` at least where there is a chunk weight, `anchor_kl` where there is an
    anchor weight, `entropies` (nats) where there is either. With `everywhere` no token is left out, and the
    log-probabilities of labels are told too.
    """

    total: Float[Tensor, ""]
    chunk: Float[Tensor, ""]
    anchor: Float[Tensor, ""]
    labels: Float[Tensor, ""]
    logprobs: Float[Tensor, " tokens"]
    entropies: Float[Tensor, " tokens"]
    anchor_kl: Float[Tensor, " tokens"]
    label_logprobs: Float[Tensor, "tokens label"]


@torch.no_grad()
def token_statistics(
    hidden: Float[Tensor, "tokens hidden"], head: Head, targets: Int[Tensor, " tokens"],
    reference: Reference | None = None, temperature: float = 1.0,
) -> TokenStatistics:  # fmt: skip
    """Statistics of `targets` under softmax(head(hidden) / temperature), detached; KL where a reference is given."""
    inputs = _checked(HeadInputs(targets, head, reference, None, temperature))
    with _whole(inputs):
        found = walk(hidden, inputs)
    return TokenStatistics(found.logprobs, found.entropies, None if reference is None else found.anchor_kl)


def weighted_head_loss(
    hidden: Float[Tensor, "tokens hidden"], head: Head, targets: Int[Tensor, " tokens"],
    chunk_weights: Float[Tensor, " tokens"], *, reference: Reference | None = None,
    anchor_weights: Float[Tensor, " tokens"] | None = None, labels: Labels | None = None,
    temperature: float = 1.0, everywhere: bool = False, kernel: Literal["auto", "tokens", "trl"] = "auto",
) -> HeadLoss:  # fmt: skip
    """Σ_t −chunk_weights_t·log π(target_t) + anchor_weights_t·KL_t(π_ref‖π) − Σ of labels weight·log π(label).

    Sums, not means: the caller's weights hold every constant. Tokens without any weight are skipped; the reference is
    projected only for tokens with an anchor weight. `everywhere` asks for the statistics of all tokens besides.
    The gradient flows from `total` into the hidden states and the head's parameters, once. `kernel` "auto" takes TRL's
    on a GPU and our walk elsewhere; both run everywhere.
    """
    if (anchor_weights is None) != (reference is None):
        raise ConfigError("anchor_weights go with a reference: pass both or neither")
    terms = LossTerms(chunk_weights.detach(), None if anchor_weights is None else anchor_weights.detach())
    inputs = _checked(HeadInputs(targets, head, reference, labels, temperature))
    with _whole(inputs):
        if kernel == "trl" or (kernel == "auto" and hidden.is_cuda):
            return _with_trl(hidden, inputs, terms, everywhere)
        total, parts, *statistics = GradientInForward.apply(
            hidden, head.weight, head.bias, inputs, terms, everywhere, torch.is_grad_enabled()
        )
    return HeadLoss(total, *parts.unbind(), *statistics)


def response_hidden(
    model: nn.Module, input_ids: Int[Tensor, "batch length"], attention_mask: Int[Tensor, "batch length"],
    response_tokens: int,
) -> Float[Tensor, "batch time hidden"]:
    """Hidden states of the last `response_tokens` columns: index t is the state that produced response token t."""
    if not 0 < response_tokens < input_ids.shape[1]:
        raise ConfigError(
            f"response_tokens is {response_tokens} of {input_ids.shape[1]} columns: a response needs at least one "
            "token, and at least one token of prompt before it"
        )
    hidden = sequence_hidden(model, input_ids, attention_mask)
    return hidden[:, -response_tokens - 1 : -1]


@torch.no_grad()
def sequence_statistics(
    model: nn.Module, input_ids: Int[Tensor, "batch length"], attention_mask: Int[Tensor, "batch length"],
    response_tokens: int, *, reference: nn.Module | None = None, temperature: float = 1.0,
) -> TokenStatistics:
    """Statistics of the last `response_tokens` columns, shape (batch, time); 0 where `attention_mask` is 0.

    `reference` is the frozen model for KL(π_ref‖π_θ), or the student itself where it has an adapter to switch off.
    Without gradient.
    """
    attended = attention_mask[:, -response_tokens:].bool()
    targets = input_ids[:, -response_tokens:][attended]
    hidden = response_hidden(model, input_ids, attention_mask, response_tokens)[attended]
    beside = None
    if reference is not None:
        with as_reference(model, reference) as frozen:
            states = response_hidden(frozen, input_ids, attention_mask, response_tokens)[attended]
            beside = Reference(states, head_of(frozen))
    found = token_statistics(hidden, head_of(model), targets, beside, temperature)

    def spread(values: Tensor) -> Tensor:
        return values.new_zeros(attended.shape).masked_scatter(attended, values)

    return TokenStatistics(
        spread(found.logprobs), spread(found.entropies), None if found.anchor_kl is None else spread(found.anchor_kl)
    )


def _whole(inputs: HeadInputs) -> AbstractContextManager[None]:
    """Inside, heads that ZeRO-3 keeps in pieces are whole (it marks each parameter); others are so anyway."""
    heads = [inputs.head, *([] if inputs.reference is None else [inputs.reference.head])]
    parameters = [p for head in heads for p in (head.weight, head.bias) if p is not None]
    if not any(hasattr(parameter, "ds_status") for parameter in parameters):
        return nullcontext()
    from trl.trainer.utils import maybe_gather_lm_head_ctx

    return maybe_gather_lm_head_ctx(*parameters)


def _checked(inputs: HeadInputs) -> HeadInputs:
    """Raises ConfigError for another vocabulary. The reference is a constant: it carries no graph."""
    head, reference = inputs.head, inputs.reference
    if reference is None:
        return inputs
    if reference.head.weight.shape[0] != head.weight.shape[0]:
        raise ConfigError(
            f"the reference has {reference.head.weight.shape[0]} vocabulary entries and the student "
            f"{head.weight.shape[0]}: use a reference with the student's own vocabulary"
        )
    return replace(inputs, reference=Reference(reference.hidden.detach(), reference.head))


def _with_trl(hidden: Tensor, inputs: HeadInputs, terms: LossTerms, everywhere: bool) -> HeadLoss:
    """The loss on TRL's kernels: one call for every weighted log-probability, one for the anchor, on their rows only.

    With 16-bit inputs TRL rounds the tiles of the log-probabilities (not of the KL) to 16 bits. What is asked of all
    tokens, or needed before the loss, comes from a walk of our own.
    """
    from trl.kernels import ChunkedLogProbFunction
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    head, reference, temperature = inputs.head, inputs.reference, inputs.temperature
    labels_need_it = inputs.labels is not None and inputs.labels.reweigh is not None
    before = walk(hidden.detach(), inputs) if everywhere or labels_need_it else None
    logprobs, entropies, anchor_kl = (torch.full_like(terms.chunk, torch.nan, dtype=torch.float32) for _ in range(3))
    # Keeps `total` in the graph where no token has a term.
    chunk = anchor = labels = hidden[:0].sum().float()

    rows = terms.chunk.nonzero().squeeze(-1)
    ids, weights = inputs.targets[rows], terms.chunk[rows]
    audited = len(rows)
    if inputs.labels is not None:
        label_weights = inputs.labels.weights if before is None else inputs.labels.weights_at(before.label_logprobs)
        at = label_weights.nonzero(as_tuple=True)
        rows = torch.cat([rows, at[0]])
        ids = torch.cat([ids, inputs.labels.ids[at]])
        weights = torch.cat([weights, label_weights[at]])
    if len(rows):
        found, spread, *_ = ChunkedLogProbFunction.apply(
            hidden[rows], head.weight, head.bias, ids, temperature, min(_TRL_COLUMNS, len(head.weight)), head.softcap,
            head.scale, ("entropy",),
        )
        logprobs[rows[:audited]], entropies[rows] = found[:audited].detach(), spread.detach()
        terms_of_rows = -weights * found
        chunk, labels = terms_of_rows[:audited].sum(), terms_of_rows[audited:].sum()

    anchored = rows[:0] if terms.anchor is None else terms.anchor.nonzero().squeeze(-1)
    if reference is not None and terms.anchor is not None and len(anchored):
        found, spread = ChunkedDivergenceFunction.apply(
            hidden[anchored], head.weight, head.bias, reference.hidden[anchored], reference.head.weight,
            reference.head.bias, 0.0, temperature, head.scale, head.softcap, reference.head.scale,
            reference.head.softcap,
        )
        anchor_kl[anchored], entropies[anchored] = found.detach().clamp(min=0), spread
        anchor = (terms.anchor[anchored] * found).sum()

    total, parts = chunk + anchor + labels, (chunk.detach(), anchor.detach(), labels.detach())
    if before is not None:
        return HeadLoss(total, *parts, before.logprobs, before.entropies, before.anchor_kl, before.label_logprobs)
    unknown = logprobs.new_full((len(logprobs), 0) if inputs.labels is None else inputs.labels.ids.shape, torch.nan)
    return HeadLoss(total, *parts, logprobs, entropies, anchor_kl, unknown)
