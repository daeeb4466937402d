"""A student whose frozen weights take 4 bits (QLoRA, arXiv 2305.14314): bitsandbytes' NF4, by transformers' own loader.

Which settings need the package is said before anything is loaded. Knows no recipe.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from omniopd.errors import ConfigError
from omniopd.models.architecture.probing import bare


def require_bitsandbytes(setting: str, way_out: str) -> None:
    """ConfigError, which names the `setting` that needs the package, where it is not installed."""
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"{setting}, which needs the package bitsandbytes, and it is not installed: pip install 'omniopd[bits]', "
            f"or {way_out}"
        )


def four_bit_options(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Arguments of `from_pretrained`: every linear layer but the head in NF4, its scales in 8 bits; products are
    computed in `dtype`, and each layer becomes 4 bits on `device` as it is read."""
    from transformers import BitsAndBytesConfig

    packed = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())  # which accelerate compares with its own
    return {"quantization_config": packed, "device_map": {"": device}}


def keep_trainable(model: nn.Module) -> None:
    """On CPUs with AVX512-BF16, bitsandbytes repacks a layer at its first forward without gradients, and what is packed
    passes no gradient on: the layers below would learn nothing, unsaid. Such layers are kept as they are."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010, mypy knows no such attribute


def widen_adapters(model: nn.Module) -> None:
    """Trained numbers of a model in 4 bits as float32. TRL rounds them to bfloat16, where a step of 1e-5 on a weight of
    0.01 changes nothing; call it before there is an optimizer."""
    if is_packed(model):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()


def is_packed(model: nn.Module) -> bool:
    """Whether a model's frozen weights are held in 4 bits."""
    return bool(getattr(bare(model), "is_loaded_in_4bit", False))
