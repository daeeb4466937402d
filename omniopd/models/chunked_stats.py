"""One walk over the tokens: log-probability, entropy, KL and the loss's gradient from hidden states and the head.

A tile of a few tokens × the whole vocabulary is projected, used for everything that needs it, turned into the
gradient of the loss in place, and forgotten: (tokens × vocabulary) never exists. The gradient is computed in the
forward, so nothing is projected twice. Everything is accumulated in the precision of `_work_dtype`.
Knows tensors only: no model, no batch, no position.

The idea of a gradient computed in the forward, per chunk of tokens, is that of Liger Kernel's fused linear losses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Three buffers of this many logits are all that is held. On a CPU: small enough for the memory bound at a vocabulary of
# 32,000, large enough that the matrix products run at full speed. On a GPU a tile pays for a pass over the head and its
# gradient, so it holds more tokens: still 1/20 of full logits at a vocabulary of 152,000 and 16,384 tokens.
TILE_LOGITS = 3_000_000
TILE_LOGITS_ON_A_GPU = 64_000_000
# Below this the head is streamed from memory once for too few tokens (vocabularies above 47,000).
LEAST_ROWS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """How a hidden state h becomes logits: z = scale · (W h + b), then softcap · tanh(z / softcap) if there is one."""

    weight: Float[Tensor, "vocab hidden"]
    bias: Float[Tensor, " vocab"] | None = None
    scale: float = 1.0
    softcap: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LossTerms:
    """What the loss asks of each token: −chunk·log π(target) + anchor·KL(π_ref‖π) − Σ_k labels_k·log π(label_ids_k)."""

    chunk: Float[Tensor, " tokens"]
    anchor: Float[Tensor, " tokens"] | None = None
    label_ids: Int[Tensor, "tokens label"] | None = None
    labels: Float[Tensor, "tokens label"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class HeadInputs:
    """What a walk is about, and what is not differentiated: the tokens, both heads, the reference's states."""

    targets: Int[Tensor, " tokens"]
    head: Head
    reference_hidden: Float[Tensor, "tokens reference"] | None = None
    reference_head: Head | None = None
    temperature: float = 1.0


@dataclass(slots=True, eq=False)
class ChunkedStats:
    """What a walk found, per token (NaN where nobody asked), and the gradients it was asked for."""

    logprobs: Float[Tensor, " tokens"]
    entropies: Float[Tensor, " tokens"]
    anchor_kl: Float[Tensor, " tokens"]
    label_logprobs: Float[Tensor, "tokens label"] | None = None
    gradients: list[Tensor | None] = field(default_factory=lambda: [None, None, None])


def walk(
    hidden: Float[Tensor, "tokens hidden"], question: HeadInputs, terms: LossTerms | None = None,
    wanted: tuple[bool, ...] = (False, False, False),
) -> ChunkedStats:
    """Visit every token that has a term (all of them where `terms` is None), a tile at a time.

    `wanted` names the gradients of the terms' sum to compute: hidden states, head weight, head bias. The reference is
    projected only for tokens with an anchor weight, or for all of them where there are no terms.
    """
    head, reference = question.head, question.reference_head
    work = _work_dtype(hidden)
    tokens, vocab = hidden.shape[0], head.weight.shape[0]
    weight = _operand(head.weight, hidden)
    reference_weight = None
    if reference is not None:
        reference_weight = weight if reference.weight is head.weight else _operand(reference.weight, hidden)

    logprobs, entropies, anchor_kl = (hidden.new_full((tokens,), torch.nan, dtype=work) for _ in range(3))
    found = ChunkedStats(logprobs, entropies, anchor_kl)
    if terms is not None and terms.labels is not None:
        found.label_logprobs = hidden.new_full(terms.labels.shape, torch.nan, dtype=work)
    if wanted[0]:
        found.gradients[0] = hidden.new_zeros(hidden.shape, dtype=work)
    if wanted[1]:
        found.gradients[1] = hidden.new_zeros(head.weight.shape, dtype=work)
    if wanted[2]:
        found.gradients[2] = hidden.new_zeros(vocab, dtype=work)

    rows = min(tokens, rows_of_a_tile(hidden.device, vocab))
    buffers = [hidden.new_empty((rows, vocab), dtype=work) for _ in range(2 if reference is None else 3)]
    anchored, free = _visits(question, terms, tokens, hidden.device)
    # Autocast would round the logits to 16 bits: an entropy error of 1e-2 nats, and other forks.
    with torch.autocast(hidden.device.type, enabled=False):
        for tile in anchored.split(rows):
            _visit(found, tile, hidden, question, terms, buffers, weight, reference_weight)
        for tile in free.split(rows):
            _visit(found, tile, hidden, question, terms, buffers, weight, None)
    return found


def rows_of_a_tile(device: torch.device, vocab: int) -> int:
    """Tokens that are projected at once."""
    return max(LEAST_ROWS, (TILE_LOGITS if device.type == "cpu" else TILE_LOGITS_ON_A_GPU) // vocab)


class GradientInForward(torch.autograd.Function):
    """The terms' sum; its gradient is computed beside it, so that backward only scales. One backward per forward."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, question: HeadInputs, terms: LossTerms, grad_enabled: bool):  # type: ignore[override]
        wanted = tuple(bool(grad_enabled and needed) for needed in ctx.needs_input_grad[:3])
        found = walk(hidden, question, terms, wanted)
        ctx.gradients, ctx.dtypes = found.gradients, (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        parts = _sums(found, terms)
        ctx.mark_non_differentiable(*parts, found.logprobs, found.entropies, found.anchor_kl)
        return parts.sum(), parts, found.logprobs, found.entropies, found.anchor_kl

    @staticmethod
    def backward(ctx, upstream, *_):  # type: ignore[override]
        if ctx.gradients is None:
            raise RuntimeError("the gradient of this loss is used up: compute the loss again for a second backward")
        scaled = [
            None if gradient is None else gradient.mul_(upstream).to(dtype)
            for gradient, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        ]
        ctx.gradients = None
        return *scaled, None, None, None


class Statistics(torch.autograd.Function):
    """Log-probabilities and KL with gradients, entropies without; backward walks again with the upstream as weights."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, question: HeadInputs):  # type: ignore[override]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(hidden, weight, bias)
        ctx.question = question
        found = walk(hidden, question)
        ctx.mark_non_differentiable(found.entropies)
        return found.logprobs, found.entropies, found.anchor_kl

    @staticmethod
    def backward(ctx, logprobs_upstream, _, kl_upstream):  # type: ignore[override]
        hidden, weight, bias = ctx.saved_tensors
        if logprobs_upstream is None and kl_upstream is None:
            return None, None, None, None
        chunk = torch.zeros_like(kl_upstream) if logprobs_upstream is None else -logprobs_upstream
        found = walk(hidden, ctx.question, LossTerms(chunk, kl_upstream), ctx.needs_input_grad[:3])
        inputs = (hidden, weight, bias)
        return *(None if g is None else g.to(x.dtype) for g, x in zip(found.gradients, inputs, strict=True)), None


def _visits(question: HeadInputs, terms: LossTerms | None, tokens: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Positions that need both models, positions that need the student only; all others are left out."""
    everything, nothing = torch.arange(tokens, device=device), torch.arange(0, device=device)
    if terms is None:
        return (nothing, everything) if question.reference_head is None else (everything, nothing)
    anchored = torch.zeros(tokens, dtype=torch.bool, device=device) if terms.anchor is None else terms.anchor != 0
    asked = terms.chunk != 0
    if terms.labels is not None:
        asked = asked | (terms.labels != 0).any(-1)
    return anchored.nonzero().squeeze(-1), (asked & ~anchored).nonzero().squeeze(-1)


def _visit(
    found: ChunkedStats, tile: Tensor, hidden: Tensor, question: HeadInputs, terms: LossTerms | None,
    buffers: list[Tensor], weight: Tensor, reference_weight: Tensor | None,
) -> None:
    """One tile: the statistics of its tokens and, where terms are given, their share of the gradients."""
    logits, probs, *spare = (buffer[: len(tile)] for buffer in buffers)
    states, targets = hidden[tile].to(weight.dtype), question.targets[tile].unsqueeze(-1)
    slope = _project(logits, states, weight, question.head, question.temperature)
    # Relative to the largest logit, sums over the vocabulary lose nothing to its size.
    logits -= logits.amax(-1, keepdim=True)
    torch.exp(logits, out=probs)
    mass = probs.sum(-1, keepdim=True)
    found.logprobs[tile] = (logits.gather(-1, targets) - mass.log()).squeeze(-1)
    if terms is not None and terms.labels is not None:
        found.label_logprobs[tile] = logits.gather(-1, terms.label_ids[tile]) - mass.log()
    product = torch.mul(logits, probs, out=logits if reference_weight is None else spare[0])
    found.entropies[tile] = (mass.log() - product.sum(-1, keepdim=True) / mass).squeeze(-1)
    reference_probs = None
    if reference_weight is not None:
        reference_probs = spare[0]
        found.anchor_kl[tile] = _divergence(logits, mass, reference_probs, tile, question, reference_weight)
    if terms is None or not any(gradient is not None for gradient in found.gradients):
        return
    probs /= mass
    gradient = _logit_gradient(probs, reference_probs, targets, terms, tile)
    if isinstance(slope, Tensor) or slope != 1:
        gradient *= slope
    _accumulate(found.gradients, tile, gradient, states, weight)


def _divergence(
    logits: Tensor, mass: Tensor, reference_probs: Tensor, tile: Tensor, question: HeadInputs, weight: Tensor
) -> Tensor:
    """KL(π_ref‖π) in nats, never negative; leaves π_ref in `reference_probs` and spoils `logits`."""
    states = question.reference_hidden[tile].to(weight.dtype)
    _project(reference_probs, states, weight, question.reference_head, question.temperature)
    reference_probs -= reference_probs.amax(-1, keepdim=True)
    gap = torch.sub(reference_probs, logits, out=logits)
    reference_probs.exp_()
    reference_mass = reference_probs.sum(-1, keepdim=True)
    reference_probs /= reference_mass
    expected_gap = gap.mul_(reference_probs).sum(-1, keepdim=True)
    return (expected_gap - (reference_mass / mass).log()).squeeze(-1).clamp_(min=0)


def _logit_gradient(
    probs: Tensor, reference_probs: Tensor | None, targets: Tensor, terms: LossTerms, tile: Tensor
) -> Tensor:
    """dL/dlogits = (sum of the token's weights)·π − each weight where it falls; overwrites `probs`."""
    chunk = terms.chunk[tile].unsqueeze(-1).to(probs.dtype)
    total, labels, anchor = chunk, None, None
    if terms.labels is not None:
        labels = terms.labels[tile].to(probs.dtype)
        total = total + labels.sum(-1, keepdim=True)
    if reference_probs is not None:
        anchor = terms.anchor[tile].unsqueeze(-1).to(probs.dtype)
        total = total + anchor
    gradient = probs.mul_(total)
    if anchor is not None:
        gradient -= reference_probs.mul_(anchor)
    gradient.scatter_add_(-1, targets, -chunk)
    if labels is not None:
        gradient.scatter_add_(-1, terms.label_ids[tile], -labels)
    return gradient


def _project(out: Tensor, states: Tensor, weight: Tensor, head: Head, temperature: float) -> Tensor | float:
    """Write the head's logits over `temperature` into `out`; return their slope in the plain product W h + b."""
    if weight.dtype == out.dtype:
        torch.mm(states, weight.t(), out=out)
    else:  # 16-bit operands on a GPU
        torch.mm(states, weight.t(), out_dtype=out.dtype, out=out)
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
    wide = {} if weight.dtype == gradient.dtype else {"out_dtype": gradient.dtype}
    if of_hidden is not None:
        of_hidden[tile] = torch.mm(factor, weight, **wide)
    if of_weight is not None:
        torch.addmm(of_weight, factor.t(), states, **wide, out=of_weight)
    if of_bias is not None:
        of_bias += gradient.sum(0)


def _sums(found: ChunkedStats, terms: LossTerms) -> Float[Tensor, " part"]:
    """The loss's parts over all tokens: chunk, anchor, labels. A token without a term has no part in it."""
    chunk = torch.where(terms.chunk != 0, -terms.chunk * found.logprobs, 0).sum()
    anchor = labels = torch.zeros_like(chunk)
    if terms.anchor is not None:
        anchor = torch.where(terms.anchor != 0, terms.anchor * found.anchor_kl, 0).sum()
    if terms.labels is not None:
        labels = torch.where(terms.labels != 0, -terms.labels * found.label_logprobs, 0).sum()
    return torch.stack([chunk, anchor, labels])


def _work_dtype(hidden: Tensor) -> torch.dtype:
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32


def _operand(weight: Tensor, hidden: Tensor) -> Tensor:
    """The head's weight as the matrix products take it: 16 bits only on a GPU, where they accumulate in 32."""
    narrow = hidden.is_cuda and hidden.dtype in (torch.float16, torch.bfloat16)
    return weight.detach().to(hidden.dtype if narrow else _work_dtype(hidden))
