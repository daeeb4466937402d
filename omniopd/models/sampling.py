"""Answers sampled from a model, with the exact statistics of every token.

Draws are seeded by (seed, prompt id, number of the sample): the same in any batch, and unlike each other. Knows no
teacher.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from omniopd.errors import DataError
from omniopd.models.architecture.backbone import check_head
from omniopd.models.decoding import Watch, context_length, continue_ids, row_seed
from omniopd.models.loading import end_ids
from omniopd.models.score import score
from omniopd.models.text.chat import prompt_ids
from omniopd.models.text.token_text import pieces
from omniopd.types import Prompt, Rollout


def sample(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_tokens: int = 512,
    temperature: float = 1.0,
    seed: int = 0,
    samples: int = 1,
    top_p: float = 1.0,
    top_k: int = 0,
    batch_tokens: int = 65536,
    watch: Watch | None = None,
) -> list[Rollout]:
    """`samples` answers to each prompt, those of one prompt side by side.

    Log-probabilities and entropies (nats) are those of softmax(logits / temperature) over the full vocabulary, before
    top-p and top-k, and those of temperature 1 for greedy answers (temperature 0). Two prompts with one id and one text
    get the same answers. `watch` is that of `sample_ids`. Raises DataError for a prompt that fills the model's context,
    and ConfigError for a model whose logits are not understood.
    """
    check_head(model)
    sampled = sample_ids(
        model, tokenizer, prompts, max_tokens, temperature, seed, samples, top_p, top_k, batch_tokens, watch
    )
    ends = end_ids(model, tokenizer)
    rollouts = []
    for prompt, answers in zip(prompts, sampled, strict=True):
        before = torch.tensor(prompt_ids(tokenizer, prompt.messages))
        rollouts += [
            Rollout(
                prompt=prompt,
                prompt_ids=before,
                token_ids=torch.tensor(ids, dtype=torch.long),
                logprobs=torch.full((len(ids),), torch.nan),
                entropies=torch.full((len(ids),), torch.nan),
                pieces=pieces(tokenizer, ids),
                finish="stop" if ids and ids[-1] in ends else "length",
            )
            for ids in answers
        ]
    return score(model, tokenizer, rollouts, temperature=temperature or 1.0)


def sample_ids(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_tokens: int = 512,
    temperature: float = 1.0,
    seed: int = 0,
    samples: int = 1,
    top_p: float = 1.0,
    top_k: int = 0,
    batch_tokens: int = 65536,
    watch: Watch | None = None,
) -> list[list[list[int]]]:
    """The tokens alone, per prompt and sample: the draws of `sample`, without the forward that scores them. Rows of
    `watch` (see `continue_ids`) are numbered prompt by prompt, `samples` each."""
    room = context_length(model)
    prefixes = [prompt_ids(tokenizer, prompt.messages) for prompt in prompts]
    for prompt, prefix in zip(prompts, prefixes, strict=True):
        if len(prefix) >= room:
            raise DataError(
                f"prompt {prompt.id!r} has {len(prefix)} tokens, and the model reads {room}: "
                "shorten it, or leave it out"
            )
    rows = [(place, number) for place in range(len(prompts)) for number in range(samples)]
    ends = end_ids(model, tokenizer)
    found = continue_ids(
        model,
        [prefixes[place] for place, _ in rows],
        [row_seed(seed, prompts[place].id, number) for place, number in rows],
        [min(max_tokens, room - len(prefixes[place])) for place, _ in rows],
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        eos_ids=ends,
        pad_id=ends[0],
        batch_tokens=batch_tokens,
        watch=watch,
    )
    return [found[place * samples : (place + 1) * samples] for place in range(len(prompts))]
