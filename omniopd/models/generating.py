"""transformers' `generate`, held to what its caller asks for.

`generate` fills whatever its caller leaves open from the model's generation_config.json: whole families of truncations,
penalties, forced and forbidden tokens, and keys that are not invented yet. Draws under them are draws of another
distribution than is scored. Knows no trainer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import GenerationConfig

from omniopd.models.architecture.probing import bare

# What a text begins and ends with is a fact about the model, not a way of sampling.
SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@contextmanager
def own_settings_only(model: nn.Module) -> Iterator[None]:
    """Inside, the model's generation_config holds its special ids and nothing else; afterwards it is the file's again,
    so that a checkpoint keeps it."""
    inner = bare(model)
    whole = inner.generation_config
    inner.generation_config = GenerationConfig(**{name: getattr(whole, name, None) for name in SPECIAL_IDS})
    try:
        yield
    finally:
        inner.generation_config = whole
