"""What the anchor pulls towards: the student as it starts.

Where all weights learn it is a frozen model beside the student. A teacher of the same checkpoint is one already, and
lends its weights.

With an adapter the cheap reference is the model with its adapter switched off. That is the starting student only where
the adapter starts as nothing and takes everything that learns with it: an initialisation that moves weights into the
adapter (PiSSA, OLoRA), or a trained bias of the model's own, makes it another model, which the check here finds by its
numbers.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from omniopd.errors import ConfigError
from omniopd.models.architecture.backbone import check_head, head_of, sequence_hidden
from omniopd.models.architecture.probing import evaluating, probe_ids, share_answers
from omniopd.models.loading import frozen_copy, frozen_twin, same_weights
from omniopd.teachers.cache.identity import layers
from omniopd.teachers.local import LocalTeacher

_log = logging.getLogger(__name__)
_PROBE = (2, 16)
_SPLITTERS = ("FSDP", "DEEPSPEED")
_SAME = {torch.float32: 1e-5, torch.float64: 1e-9}  # nats per token; 16 bits round more
_SAME_IN_16_BITS = 1e-2


def frozen_start(model: PreTrainedModel, teacher: object, args: TrainingArguments) -> PreTrainedModel:
    """The student as it starts, frozen: on the weights of a teacher that runs here, where they are the same; or a copy.

    Weights that are to be split over processes, or taken apart in one, are each model's own.
    """
    *_, innermost = layers(teacher)
    other = innermost.model if isinstance(innermost, LocalTeacher) else None
    split = args.world_size > 1 or any(os.environ.get(f"ACCELERATE_USE_{by}") == "true" for by in _SPLITTERS)
    if other is None or split or args.deepspeed or not same_weights(model, other):
        return frozen_copy(model)  # type: ignore[return-value]
    _log.info("the teacher is the student's own checkpoint: its weights are the reference's, too")
    twin = frozen_twin(other)
    share_answers(model, twin)
    return twin  # type: ignore[return-value]


def said(model: nn.Module) -> Float[Tensor, "batch time vocab"]:
    """Log-probabilities of every token after each of a few fixed ones: what a model is known by here."""
    ids = probe_ids(model, *_PROBE)
    with evaluating(model):
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    return logits.double().log_softmax(-1) if logits.device.type != "mps" else logits.float().log_softmax(-1)


def start_beside(model: nn.Module, given: Float[Tensor, "batch time vocab"]) -> nn.Module | None:
    """A frozen copy of the starting student, where the model with its adapter off is not it; None where it is.

    `given` is what was `said` before the adapter came. Raises ConfigError where the student starts as another model.
    """
    check_head(model)
    off = _divergence(given, said(model))
    if not off <= _tolerance(model):
        raise ConfigError(
            f"with its new adapter the student starts {off:.3g} nats per token away from the model that was given, and "
            "a resumed run could not know where: let the adapter start as nothing (init_lora_weights=True), or save "
            "that start as a model and give it"
        )
    if adapter_off_is_start(model):
        return None
    _log.warning("the model with this adapter off is not the starting student, so a copy of it is kept as reference")
    return frozen_copy(model)


def adapter_off_is_start(model: Any) -> bool:
    """Whether the model with its adapter off says what it says now, and will: nothing that learns is left in it."""
    learning = [p for p in model.parameters() if p.requires_grad]
    now = said(model)
    with model.disable_adapter(), torch.enable_grad():
        off = _divergence(said(model), now)
        training = model.training
        model.eval()
        for parameter in learning:  # PEFT freezes what it switches off, used or not
            parameter.requires_grad_(True)
        ids, head = probe_ids(model, *_PROBE), head_of(model)
        used = sequence_hidden(model, ids, torch.ones_like(ids)).float().sum()
        used = used + sum(p.float().sum() for p in (head.weight, head.bias) if p is not None)
        left = torch.autograd.grad(used, learning, allow_unused=True) if used.requires_grad else ()
        model.train(training)
    for parameter in learning:
        parameter.requires_grad_(True)
    return off <= _tolerance(model) and all(gradient is None for gradient in left)


def _divergence(p: Tensor, q: Tensor) -> float:
    """The mean KL(p‖q) of log-probabilities, in nats."""
    return float((p.exp() * (p - q)).sum(-1).mean())


def _tolerance(model: nn.Module) -> float:
    return _SAME.get(head_of(model).weight.dtype, _SAME_IN_16_BITS)
