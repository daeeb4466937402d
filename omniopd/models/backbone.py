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
from omniopd.models.chunked_head import Head

# How configurations name a factor on the logits; Granite and MiniCPM divide by theirs, HyperCLOVA X multiplies.
_FACTORS = ("logit_scale", "output_multiplier", "lm_head_multiplier")
_PROBE = (0, 1, 2, 3)


def head_of(model: nn.Module) -> Head:
    """The model's output layer with its scale and softcap, read from its configuration (`check_head` proves it right).

    The weight is the parameter itself, so gradients reach it. Raises ConfigError where the head is not a plain linear
    layer: a LoRA adapter on the head would be ignored by everything that reads its weight.
    """
    bare = _bare(model)
    layer = bare.get_output_embeddings()
    if hasattr(layer, "modules_to_save"):  # PEFT trains a full copy of the head and switches between the two
        layer = layer.original_module if layer.disable_adapters else layer.modules_to_save[layer.active_adapter]
    if not isinstance(layer, nn.Linear) or hasattr(layer, "lora_A"):
        raise ConfigError(
            f"the output layer of {_kind(bare)!r} is a {type(layer).__name__}, not a plain linear layer: "
            "take 'lm_head' out of the adapter's target_modules, or choose another student"
        )
    config = bare.config.get_text_config()
    return Head(layer.weight, layer.bias, _factor(config), getattr(config, "final_logit_softcapping", None))


@torch.no_grad()
def check_head(model: nn.Module) -> None:
    """Prove on four tokens that `head_of` and `sequence_hidden` give the model's own logits; else raise ConfigError.

    Some architectures change their logits in ways no configuration key tells. Costs one tiny forward.
    """
    bare = _bare(model)
    head = head_of(model)
    ids = torch.tensor([_PROBE], device=head.weight.device) % head.weight.shape[0]
    training = model.training
    model.eval()  # dropout would make the two forwards differ
    try:
        theirs = bare(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.float()
        ours = sequence_hidden(model, ids, torch.ones_like(ids)).float() @ head.weight.float().t()
    finally:
        model.train(training)
    if head.bias is not None:
        ours += head.bias.float()
    ours *= head.scale
    if head.softcap is not None:
        ours = head.softcap * torch.tanh(ours / head.softcap)
    # Models in 16 bits round their own logits: 2^-7 of the largest one, twice over.
    tolerance = (1e-3 if head.weight.dtype == torch.float32 else 2e-2) * theirs.abs().max().clamp(min=1.0)
    worst = (ours - theirs).abs().max()
    if not bool(worst <= tolerance):
        raise ConfigError(
            f"models of type {_kind(bare)!r} change their logits in a way that is not known here (off by {worst:.3g}): "
            "log-probabilities would be wrong; choose another student"
        )


def sequence_hidden(
    model: nn.Module,
    input_ids: Int[Tensor, "batch length"],
    attention_mask: Int[Tensor, "batch length"] | Shaped[Tensor, "batch 1 length length"],
    position_ids: Int[Tensor, "batch length"] | None = None,
) -> Float[Tensor, "batch length hidden"]:
    """The hidden states before the head: position i is what the distribution of token i + 1 is made of.

    Positions count attended tokens, as in generation, so that padding on the left changes nothing. With `position_ids`
    the mask is `trees.tree_mask`'s: who sees whom.
    """
    # `get_decoder` would lose the vision half of a multimodal model; `base_model` is everything before the head.
    backbone = _bare(model).base_model
    inputs: dict[str, Tensor | bool] = {"input_ids": input_ids, "attention_mask": attention_mask}
    accepted = inspect.signature(backbone.forward).parameters
    if "position_ids" in accepted:
        counted = (attention_mask.long().cumsum(-1) - 1).clamp(min=0) if position_ids is None else position_ids
        inputs["position_ids"] = counted
    if "use_cache" in accepted:
        inputs["use_cache"] = False
    return backbone(**inputs).last_hidden_state


@contextmanager
def as_reference(model: nn.Module, reference: nn.Module) -> Iterator[nn.Module]:
    """The frozen reference, ready for a forward: another model, or the student itself with its adapter off.

    No gradients inside, and evaluation mode: dropout in the reference would be noise in the anchor.
    """
    training = reference.training
    with torch.no_grad():
        if reference is not model:
            reference.eval()
            try:
                yield reference
            finally:
                reference.train(training)
            return
        if not hasattr(model, "disable_adapter"):
            raise ConfigError(
                "the reference is the student itself, which has no adapter to switch off: KL would be 0 everywhere; "
                "pass a frozen copy of the student, or train with LoRA"
            )
        with model.disable_adapter():
            model.eval()
            try:
                yield model
            finally:
                model.train(training)


def _bare(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT wrapper; its injected adapter layers stay active."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _kind(model: nn.Module) -> str:
    return str(getattr(model.config, "model_type", type(model).__name__))


def _factor(config: object) -> float:
    for name in _FACTORS:
        factor = getattr(config, name, None)
        if isinstance(factor, int | float):
            return float(factor)
    divisor = getattr(config, "logits_scaling", None)
    if divisor is None:
        return 1.0
    return float(divisor) if getattr(config, "model_type", "") == "hyperclovax" else 1 / float(divisor)
