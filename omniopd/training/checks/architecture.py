"""Whether an architecture can be trained here: scored as it reads, and sampled as it scores; told before the start.

Training works on padded batches: transformers (through TRL) samples them, and both halves of the loss read them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig

from omniopd.errors import ConfigError
from omniopd.models.architecture.backbone import check_head, ignores_padding
from omniopd.models.architecture.probing import bare, first_line, kind, measured, plain_logits, same, texts
from omniopd.models.architecture.reading import left_padded
from omniopd.models.architecture.tree_attention import supports_trees
from omniopd.models.generating import own_settings_only

_NEW_TOKENS = 3
# Of the size of logits: what 16 bits round away anyway, and no faults of padding.
_OFF_POLICY = 0.01


def measure(model: nn.Module) -> None:
    """Try everything that a loss asks of a model, while its weights are whole and no gradient is wanted. Raises
    ConfigError for a model whose logits are not understood."""
    check_head(model)
    ignores_padding(model)
    supports_trees(model)


def check_architecture(model: nn.Module, generates: bool = True) -> None:
    """Raises ConfigError for a model that cannot be trained. `generates`: transformers samples it (not vLLM)."""
    measure(model)
    problem = _sampling_problem(model) if generates else None
    if problem is not None:
        raise ConfigError(
            f"models of type {kind(bare(model))} cannot be trained here: training samples padded batches, and "
            f"{problem}; choose another student (this one can be sampled, evaluated and be a local teacher)"
        )


@measured
def _sampling_problem(model: Any) -> str | None:
    """What is wrong with what transformers' own `generate` samples from: each step's logits are compared with those of
    the row alone, read without padding or cache."""
    if not ignores_padding(model):
        return "padding changes what it makes of the text"
    long, short, pad = texts(model)
    prompts = [long[:-_NEW_TOKENS], short[: len(short) // 2]]
    ids, mask = left_padded(prompts, pad, next(model.parameters()).device)
    asked = GenerationConfig(
        max_new_tokens=_NEW_TOKENS, min_new_tokens=_NEW_TOKENS, do_sample=False, num_beams=1, pad_token_id=pad,
        return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip
    try:
        with own_settings_only(model):  # as rollouts are drawn
            out = model.generate(input_ids=ids, attention_mask=mask, generation_config=asked)
        new = out.sequences[:, ids.shape[1] :].tolist()
        found = torch.stack(out.logits, dim=1)
        wanted = torch.stack([
            plain_logits(model, [*prompt, *tokens])[len(prompt) - 1 : -1]
            for prompt, tokens in zip(prompts, new, strict=True)
        ])  # fmt: skip
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever an architecture raises
        return f"transformers cannot sample them from it ({type(error).__name__}: {first_line(error)})"
    if same(model, found, wanted, _OFF_POLICY):
        return None
    return "transformers samples them from other logits than those of each row"
