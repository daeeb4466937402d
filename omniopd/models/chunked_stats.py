"""One walk over the tokens: log-probability, entropy, KL and the loss's gradient from hidden states and the head.

A tile of a few tokens × the whole vocabulary is projected, used for everything that needs it, turned into the
gradient of the loss in place, and forgotten: (tokens × vocabulary) never exists. The gradient is computed in the
forward, so nothing is projected twice. Sums run in the precision of `_work_dtype`.
Knows tensors only: no model, no batch, no position.

The idea of a gradient computed in the forward, per chunk of tokens, is that of Liger Kernel's fused linear losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

# One buffer of this many logits is held for each model. On a CPU: small enough for the memory bound at a vocabulary of
# 32,000, large enough that the matrix products run at full speed. On a GPU a tile pays for a pass over the head and its
# gradient, so it holds more tokens: still 1/20 of full logits at a vocabulary of 152,000 and 16,384 tokens.
TILE_LOGITS = 3_000_000
TILE_LOGITS_ON_A_GPU = 64_000_000
# Below this the head is streamed from memory once for too few tokens (vocabularies above 47,000).
LEAST_ROWS = 64
# What is computed between two products goes through a tile in blocks: on a CPU they stay in its cache.
BLOCK_LOGITS = 262_144
BLOCK_LOGITS_ON_A_GPU = 16_000_000
# A product of fewer rows takes another kernel, which rounds otherwise.
_FEWEST_ROWS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """How a hidden state h becomes logits: z = scale · (W h + b), then softcap · tanh(z / softcap) if there is one."""

    weight: Float[Tensor, "vocab hidden"]
    bias: Float[Tensor, " vocab"] | None = None
    scale: float = 1.0
    softcap: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The frozen reference's states, one per token, and its head."""

    hidden: Float[Tensor, "*tokens hidden"]
    head: Head


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Other tokens to raise at each position, and their weights: with `reweigh`, what it makes of `weights` and of the
    log-probabilities of the labels."""

    ids: Int[Tensor, "tokens label"]
    weights: Float[Tensor, "tokens label"]
    reweigh: Callable[[Tensor, Tensor], Tensor] | None = None

    def weights_at(self, logprobs: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        return self.weights[rows] if self.reweigh is None else self.reweigh(self.weights[rows], logprobs)


@dataclass(frozen=True, slots=True, eq=False)
class HeadInputs:
    """What a walk reads and does not differentiate."""

    targets: Int[Tensor, " tokens"]
    head: Head
    reference: Reference | None = None
    labels: Labels | None = None
    temperature: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class LossTerms:
    """The loss of each token: −chunk·log π(target) + anchor·KL(π_ref‖π) − Σ of labels weight·log π(label)."""

    chunk: Float[Tensor, " tokens"]
    anchor: Float[Tensor, " tokens"] | None = None


@dataclass(slots=True, eq=False)
class ChunkedStats:
    """The statistics of each token (NaN where none were needed) and the gradients that were asked for."""

    logprobs: Float[Tensor, " tokens"]
    entropies: Float[Tensor, " tokens"]
    anchor_kl: Float[Tensor, " tokens"]
    label_logprobs: Float[Tensor, "tokens label"]
    gradients: list[Tensor | None]


def walk(
    hidden: Float[Tensor, "tokens hidden"], inputs: HeadInputs, terms: LossTerms | None = None,
    wanted: tuple[bool, ...] = (False, False, False), everywhere: bool = False,
) -> ChunkedStats:
    """Visit every token that has a term (all of them where `terms` is None, or `everywhere`), a tile at a time.

    `wanted` names the gradients of the terms' sum to compute: hidden states, head weight, head bias. The reference is
    projected only for tokens with an anchor weight, or for all of them where all are visited.
    """
    head, reference = inputs.head, inputs.reference
    work = _work_dtype(hidden)
    tokens, vocab = hidden.shape[0], head.weight.shape[0]
    weight = _operand(head.weight, hidden)
    reference_weight = None
    if reference is not None:
        same = reference.head.weight is head.weight
        reference_weight = weight if same else _operand(reference.head.weight, hidden)

    labels = (tokens, 0) if inputs.labels is None else inputs.labels.ids.shape
    logprobs, entropies, anchor_kl = (hidden.new_full((tokens,), torch.nan, dtype=work) for _ in range(3))
    shapes = hidden.shape, head.weight.shape, (vocab,)
    gradients = [
        hidden.new_zeros(shape, dtype=work) if asked else None for shape, asked in zip(shapes, wanted, strict=True)
    ]
    found = ChunkedStats(
        logprobs, entropies, anchor_kl, hidden.new_full(labels, torch.nan, dtype=work), gradients
    )

    rows = min(max(tokens, _FEWEST_ROWS), rows_of_a_tile(hidden.device, vocab))
    buffers = [hidden.new_empty((rows, vocab), dtype=work) for _ in range(1 if reference is None else 2)]
    spare = hidden.new_empty((2, min(rows, _rows_of_a_block(hidden.device, vocab)), vocab), dtype=work)
    # Autocast would round the logits to 16 bits: an entropy error of 1e-2 nats, and other forks.
    with torch.autocast(hidden.device.type, enabled=False):
        for places, their_terms, beside in _visits(inputs, terms, everywhere, tokens, hidden.device):
            for tile in places.split(rows):
                _visit(
                    found, tile, hidden, inputs, their_terms, buffers, spare, weight,
                    reference_weight if beside else None,
                )  # fmt: skip
    return found


def rows_of_a_tile(device: torch.device, vocab: int) -> int:
    """Tokens that are projected at once."""
    return max(LEAST_ROWS, (TILE_LOGITS if device.type == "cpu" else TILE_LOGITS_ON_A_GPU) // vocab)


class GradientInForward(torch.autograd.Function):
    """The terms' sum; its gradient is computed beside it, so that backward only scales. One backward per forward."""

    @staticmethod
    def forward(
        ctx, hidden, weight, bias, inputs: HeadInputs, terms: LossTerms, everywhere: bool, grad_enabled: bool
    ):  # type: ignore[override]
        wanted = tuple(bool(grad_enabled and needed) for needed in ctx.needs_input_grad[:3])
        found = walk(hidden, inputs, terms, wanted, everywhere)
        ctx.gradients, ctx.dtypes = found.gradients, (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        parts = _sums(found, inputs, terms)
        statistics = found.logprobs, found.entropies, found.anchor_kl, found.label_logprobs
        ctx.mark_non_differentiable(*parts, *statistics)
        return parts.sum(), parts, *statistics

    @staticmethod
    def backward(ctx, upstream, *_):  # type: ignore[override]
        if ctx.gradients is None:
            raise RuntimeError("the gradient of this loss is used up: compute the loss again for a second backward")
        scaled = [
            None if gradient is None else gradient.mul_(upstream).to(dtype)
            for gradient, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        ]
        ctx.gradients = None
        return *scaled, None, None, None, None


def _visits(
    inputs: HeadInputs, terms: LossTerms | None, everywhere: bool, tokens: int, device: torch.device
) -> Iterator[tuple[Tensor, LossTerms | None, bool]]:
    """Positions with their terms, and whether the reference is projected for them; all others are left out."""
    beside = inputs.reference is not None
    if terms is None:
        yield torch.arange(tokens, device=device), None, beside
        return
    anchored = torch.zeros(tokens, dtype=torch.bool, device=device) if terms.anchor is None else terms.anchor != 0
    asked = terms.chunk != 0
    if inputs.labels is not None:
        asked = asked | (inputs.labels.weights != 0).any(-1)
    yield anchored.nonzero().squeeze(-1), terms, True
    yield (asked & ~anchored).nonzero().squeeze(-1), replace(terms, anchor=None), beside and everywhere
    if everywhere and len(rest := (~asked & ~anchored).nonzero().squeeze(-1)):
        # Repeated, so that what the log says of a token is the same to the bit however few are left over.
        yield rest.repeat(-(-_FEWEST_ROWS // len(rest)))[: max(len(rest), _FEWEST_ROWS)], None, beside


def _visit(
    found: ChunkedStats, tile: Tensor, hidden: Tensor, inputs: HeadInputs, terms: LossTerms | None,
    buffers: list[Tensor], spare: Tensor, weight: Tensor, reference_weight: Tensor | None,
) -> None:  # fmt: skip
    """One tile: the statistics of its tokens and, where terms are given, their share of the gradients."""
    if not any(gradient is not None for gradient in found.gradients):
        terms = None
    logits, states = buffers[0][: len(tile)], hidden[tile].to(weight.dtype)
    _project(logits, states, weight)
    beside = None
    if inputs.reference is not None and reference_weight is not None:
        beside = buffers[1][: len(tile)]
        _project(beside, inputs.reference.hidden[tile].to(reference_weight.dtype), reference_weight)
    for start in range(0, len(tile), spare.shape[1]):
        block = slice(start, start + spare.shape[1])
        reference = None if beside is None else beside[block]
        _measure(found, tile[block], logits[block], reference, spare[:, : len(tile[block])], inputs, terms)
    if terms is not None:
        _accumulate(found.gradients, tile, logits, states, weight)


def _measure(
    found: ChunkedStats, places: Tensor, logits: Tensor, reference: Tensor | None, spare: Tensor, inputs: HeadInputs,
    terms: LossTerms | None,
) -> None:  # fmt: skip
    """The statistics of a few tokens from their products with the heads, which are overwritten: `logits` with the
    gradient in the student's, where there are terms."""
    (probs, product), targets = spare, inputs.targets[places].unsqueeze(-1)
    slope = finish_logits(logits, inputs.head, inputs.temperature)
    # Relative to the largest logit, sums over the vocabulary lose nothing to its size.
    logits -= logits.amax(-1, keepdim=True)
    torch.exp(logits, out=probs)
    mass = probs.sum(-1, keepdim=True)
    found.logprobs[places] = (logits.gather(-1, targets) - mass.log()).squeeze(-1)
    if inputs.labels is not None:
        found.label_logprobs[places] = logits.gather(-1, inputs.labels.ids[places]) - mass.log()
    torch.mul(logits, probs, out=product)
    found.entropies[places] = (mass.log() - product.sum(-1, keepdim=True) / mass).squeeze(-1)
    if reference is not None and inputs.reference is not None:
        finish_logits(reference, inputs.reference.head, inputs.temperature)
        found.anchor_kl[places] = _divergence(logits, mass, reference)
    if terms is not None:
        probs /= mass
        _write_gradient(logits, probs, reference, places, found, inputs, terms)
        if isinstance(slope, Tensor) or slope != 1:
            logits *= slope


def _divergence(logits: Tensor, mass: Tensor, reference: Tensor) -> Tensor:
    """KL(π_ref‖π) in nats, never negative; leaves π_ref in `reference` and spoils `logits`."""
    reference -= reference.amax(-1, keepdim=True)
    gap = torch.sub(reference, logits, out=logits)
    reference.exp_()
    reference_mass = reference.sum(-1, keepdim=True)
    reference /= reference_mass
    expected_gap = gap.mul_(reference).sum(-1, keepdim=True)
    return (expected_gap - (reference_mass / mass).log()).squeeze(-1).clamp_(min=0)


def _write_gradient(
    out: Tensor, probs: Tensor, reference_probs: Tensor | None, places: Tensor, found: ChunkedStats,
    inputs: HeadInputs, terms: LossTerms,
) -> None:  # fmt: skip
    """dL/dlogits = (sum of the token's weights)·π − each weight where it falls. Spoils `reference_probs`."""
    chunk = terms.chunk[places].unsqueeze(-1).to(probs.dtype)
    total, labels, anchor = chunk, None, None
    if inputs.labels is not None:
        labels = inputs.labels.weights_at(found.label_logprobs[places], places).to(probs.dtype)
        total = total + labels.sum(-1, keepdim=True)
    if terms.anchor is not None:
        anchor = terms.anchor[places].unsqueeze(-1).to(probs.dtype)
        total = total + anchor
    torch.mul(probs, total, out=out)
    if anchor is not None and reference_probs is not None:
        out -= reference_probs.mul_(anchor)
    out.scatter_add_(-1, inputs.targets[places].unsqueeze(-1), -chunk)
    if inputs.labels is not None and labels is not None:
        out.scatter_add_(-1, inputs.labels.ids[places], -labels)


def _project(out: Tensor, states: Tensor, weight: Tensor) -> None:
    if weight.dtype == out.dtype:
        torch.mm(states, weight.t(), out=out)
    else:  # 16-bit operands on a GPU
        torch.mm(states, weight.t(), out_dtype=out.dtype, out=out)


def finish_logits(out: Tensor, head: Head, temperature: float = 1.0) -> Tensor | float:
    """From W h to the head's logits over `temperature`, in place; returns their slope in W h + b."""
    if head.bias is not None:
        out += head.bias.to(out.dtype)
    if head.softcap is None:
        if head.scale != temperature:
            out *= head.scale / temperature
        return head.scale / temperature
    bent = out.mul_(head.scale / head.softcap).tanh_()
    slope = (1 - bent.square()).mul_(head.scale / temperature)
    out *= head.softcap / temperature
    return slope


def _accumulate(
    gradients: list[Tensor | None], tile: Tensor, gradient: Tensor, states: Tensor, weight: Tensor
) -> None:
    """Add a tile's dL/d(W h + b) to the gradients that were asked for."""
    of_hidden, of_weight, of_bias = gradients
    factor = gradient if weight.dtype == gradient.dtype else gradient.to(weight.dtype)
    wide: dict[str, Any] = {} if weight.dtype == gradient.dtype else {"out_dtype": gradient.dtype}
    if of_hidden is not None:
        of_hidden[tile] = torch.mm(factor, weight, **wide)
    if of_weight is not None:
        torch.addmm(of_weight, factor.t(), states, **wide, out=of_weight)
    if of_bias is not None:
        of_bias += gradient.sum(0)


def _sums(found: ChunkedStats, inputs: HeadInputs, terms: LossTerms) -> Float[Tensor, " part"]:
    """The loss's parts over all tokens: chunk, anchor, labels. A token without a term has no part in it."""
    chunk = torch.where(terms.chunk != 0, -terms.chunk * found.logprobs, 0).sum()
    anchor = labels = torch.zeros_like(chunk)
    if terms.anchor is not None:
        anchor = torch.where(terms.anchor != 0, terms.anchor * found.anchor_kl, 0).sum()
    if inputs.labels is not None:
        weights = inputs.labels.weights_at(found.label_logprobs)
        labels = torch.where(weights != 0, -weights * found.label_logprobs, 0).sum()
    return torch.stack([chunk, anchor, labels])


def _work_dtype(hidden: Tensor) -> torch.dtype:
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32


def _rows_of_a_block(device: torch.device, vocab: int) -> int:
    return max(4, (BLOCK_LOGITS if device.type == "cpu" else BLOCK_LOGITS_ON_A_GPU) // vocab)


def _operand(weight: Tensor, hidden: Tensor) -> Tensor:
    """The head's weight as the matrix products take it: 16 bits only on a GPU, where they accumulate in 32."""
    narrow = hidden.is_cuda and hidden.dtype in (torch.float16, torch.bfloat16)
    return weight.detach().to(hidden.dtype if narrow else _work_dtype(hidden))
