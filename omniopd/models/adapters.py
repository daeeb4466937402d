"""Adapters (LoRA): which layers get one, and whether a model has the layers that are named. Loads no weights."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from omniopd.errors import ConfigError


def lora_config(rank: int, alpha: int = 16, targets: Sequence[str] = ()) -> Any:
    """Adapters of `rank` on the layers whose names end in one of `targets`; without any on every linear layer but the
    head, which scoring reads as a plain layer."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=[*targets] or "all-linear", task_type="CAUSAL_LM")


def require_targets(targets: Sequence[str], name: str, config: Any) -> None:
    """ConfigError, with the names that there are, for a target that no linear layer of the model is called; the model
    `name` is built of its `config`, without numbers."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    layers = linear_layers(model)
    known = sorted({layer.rpartition(".")[2] for layer in layers})
    for target in targets:
        if any(layer == target or layer.endswith(f".{target}") for layer in layers):
            continue
        near = difflib.get_close_matches(target, known, 1)
        raise ConfigError(
            f"student.target_modules names {target!r}, and no linear layer of {name} before its head is called that: "
            f"{f'did you mean {near[0]!r}? ' if near else ''}it has {', '.join(known)}"
        )


def linear_layers(model: Any) -> list[str]:
    """The full names of the layers that an adapter can stand on: all linear ones but the head."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]
