"""A causal language model in two halves: what it thinks (hidden states) and how it says it (the head).

Works for any `AutoModelForCausalLM`, with or without a PEFT adapter. Knows nothing of prompts and responses.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from omniopd.errors import ConfigError
from omniopd.models.architecture.cache import selects_tokens
from omniopd.models.architecture.probing import (
    bare,
    evaluating,
    first_line,
    kind,
    measured,
    row,
    same,
    text_config,
    texts,
    works,
)
from omniopd.models.chunked_stats import Head, finish_logits

# How configurations name a factor on the logits (Granite and MiniCPM divide by theirs, HyperCLOVA X multiplies), and
# the bound of their tanh.
_FACTORS = ("logit_scale", "output_multiplier", "lm_head_multiplier")
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


def head_of(model: nn.Module) -> Head:
    """The model's output layer with its scale and softcap, read from its configuration (`check_head` proves it right).

    The weight is the parameter itself, so gradients reach it. Raises ConfigError where the head is not a plain linear
    layer: a LoRA adapter on the head would be ignored by everything that reads its weight.
    """
    inner = bare(model)
    layer = inner.get_output_embeddings()
    if hasattr(layer, "modules_to_save"):  # PEFT trains a full copy of the head and switches between the two
        layer = layer.original_module if layer.disable_adapters else layer.modules_to_save[layer.active_adapter]
    if not isinstance(layer, nn.Linear) or hasattr(layer, "lora_A"):
        raise ConfigError(
            f"the output layer of {kind(inner)} is a {type(layer).__name__}, not a plain linear layer: "
            "take 'lm_head' out of the adapter's target_modules, or choose another student"
        )
    config = text_config(model)
    softcap = next((cap for name in _SOFTCAPS if (cap := getattr(config, name, None)) is not None), None)
    return Head(layer.weight, layer.bias, _factor(config), softcap)


def check_head(model: nn.Module) -> None:
    """Prove that `head_of` and `sequence_hidden` give the model's own logits, and that a token's logits know nothing of
    later tokens; else raise ConfigError.

    Some architectures change their logits in ways no configuration key tells. Costs two tiny forwards, once.
    """
    problem = _problem(model)
    if problem is not None:
        raise ConfigError(problem)


def sequence_hidden(
    model: nn.Module,
    input_ids: Int[Tensor, "batch length"],
    attention_mask: Int[Tensor, "batch length"] | Shaped[Tensor, "batch 1 length length"],
    position_ids: Int[Tensor, "batch length"] | None = None,
) -> Float[Tensor, "batch length hidden"]:
    """The hidden states before the head: position i is what the distribution of token i + 1 is made of.

    Positions count attended tokens, as in generation, so that padding changes nothing; rows of a model that reads its
    padding are read one by one, and the states of padding are then 0. With `position_ids` the mask is
    `tree_attention.tree_mask`'s: who sees whom. Raises ConfigError for a model whose logits are not understood.
    """
    if input_ids.is_meta:  # a model for its shapes: nothing can be tried on it
        return own_hidden(model, input_ids, attention_mask, position_ids)
    check_head(model)
    if position_ids is None and not ignores_padding(model):
        return torch.stack(
            [_alone(model, ids, seen) for ids, seen in zip(input_ids, attention_mask.bool(), strict=True)]
        )
    return own_hidden(model, input_ids, attention_mask, position_ids)


@measured
def ignores_padding(model: nn.Module) -> bool:
    """Whether rows that are padded in front and behind have the states that they have alone."""
    if selects_tokens(model):
        return False
    long, short, pad = texts(model)
    before = (len(long) - len(short)) // 2
    after = len(long) - len(short) - before
    ids = torch.cat([row(model, long), row(model, [pad] * before + short + [pad] * after)])
    mask = torch.ones_like(ids)
    mask[1, :before], mask[1, len(ids[1]) - after :] = 0, 0

    def attempt() -> bool:
        found = own_hidden(model, ids, mask)
        return same(model, found[0], own_hidden(model, ids[:1], mask[:1])[0]) and same(
            model, found[1, before:-after], _alone(model, ids[1], mask[1].bool())[before:-after]
        )

    return works(attempt)


def own_hidden(model: nn.Module, ids: Tensor, mask: Tensor, positions: Tensor | None = None) -> Tensor:
    """One forward of everything before the head, padding and all: for those who try what a model makes of it."""
    inner = bare(model)
    # `get_decoder` would lose the vision half of a multimodal model; `base_model` is everything before the head, unless
    # the class names it wrongly.
    backbone = inner.base_model
    if backbone is inner:
        backbone = next(child for child in inner.children() if hasattr(child, "get_input_embeddings"))
    inputs: dict[str, Tensor | bool] = {"input_ids": ids, "attention_mask": mask}
    accepted = inspect.signature(backbone.forward).parameters
    if "position_ids" in accepted:
        inputs["position_ids"] = (mask.long().cumsum(-1) - 1).clamp(min=0) if positions is None else positions
    if "use_cache" in accepted:
        inputs["use_cache"] = False
    return backbone(**inputs).last_hidden_state


@contextmanager
def as_reference(model: nn.Module, reference: nn.Module) -> Iterator[nn.Module]:
    """The frozen reference, ready for a forward: another model, or the student itself with its adapter off.

    No gradients inside, and evaluation mode: dropout in the reference would be noise in the anchor.
    """
    if reference is not model:
        with evaluating(reference):
            yield reference
        return
    disable_adapter = getattr(model, "disable_adapter", None)
    if disable_adapter is None:
        raise ConfigError(
            "the reference is the student itself, which has no adapter to switch off: KL would be 0 everywhere; "
            "pass a frozen copy of the student, or train with LoRA"
        )
    with disable_adapter(), evaluating(model):
        yield model


@measured
def _problem(model: nn.Module) -> str | None:
    """Why this model cannot be scored: a sentence, or None."""
    text, _, _ = texts(model)
    ids, part = row(model, text), max(1, len(text) // 2 - 1)  # an odd number: no whole block of any
    ones = torch.ones_like(ids)
    try:
        head = head_of(model)
    except ConfigError as error:
        return str(error)
    try:
        accepted = inspect.signature(bare(model).forward).parameters
        extra = {"use_cache": False} if "use_cache" in accepted else {}
        theirs = model(input_ids=ids, attention_mask=ones, **extra).logits.float()
        states = own_hidden(model, ids, ones).float()
        shorter = own_hidden(model, ids[:, :part], ones[:, :part]).float()
        ours = states @ head.weight.float().t()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever an architecture raises at plain text
        return (
            f"models of type {kind(model)} cannot be read as text and scored ({type(error).__name__}: "
            f"{first_line(error)}): choose another student"
        )
    finish_logits(ours, head)
    if ours.shape != theirs.shape or not _close(ours, theirs, head):
        worst = f" (off by {(ours - theirs).abs().max():.3g})" if ours.shape == theirs.shape else ""
        return (
            f"models of type {kind(model)} change their logits in a way that is not known here{worst}: "
            "log-probabilities would be wrong; choose another student"
        )
    if not selects_tokens(model) and not same(model, shorter, states[:, :part]):
        return (
            f"models of type {kind(model)} look at tokens that come later, as configured: log-probabilities would be "
            "of no use; set is_decoder in its configuration where it knows it, or choose another student"
        )
    return None


def _close(ours: Tensor, theirs: Tensor, head: Head) -> bool:
    # Models in 16 bits round their own logits: 2^-7 of the largest one, twice over.
    narrow = head.weight.dtype in (torch.float16, torch.bfloat16)
    tolerance = (2e-2 if narrow else 1e-3) * theirs.abs().max().clamp(min=1.0)
    return bool((ours - theirs).abs().max() <= tolerance)


def _alone(model: nn.Module, ids: Int[Tensor, " length"], seen: Shaped[Tensor, " length"]) -> Tensor:
    """The states of one row, read without its padding and put back to its columns."""
    columns = seen.nonzero().squeeze(-1) if bool(seen.any()) else torch.arange(1, device=ids.device)
    states = own_hidden(model, ids[columns][None], torch.ones_like(columns)[None])[0]
    return states.new_zeros(len(ids), states.shape[-1]).index_copy(0, columns, states)


def _factor(config: object) -> float:
    for name in _FACTORS:
        factor = getattr(config, name, None)
        if isinstance(factor, int | float):
            return float(factor)
    divisor = getattr(config, "logits_scaling", None)
    if divisor is None:
        return 1.0
    return float(divisor) if getattr(config, "model_type", "") == "hyperclovax" else 1 / float(divisor)
