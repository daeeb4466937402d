"""Small rollouts, forks and texts for tests of audits."""

from __future__ import annotations

import torch

from omniopd.models.text.token_text import pieces
from omniopd.types import (
    ContinuationRequest,
    Fork,
    Rollout,
)
from tests.builders import prompt, tiny_tokenizer


def numbered(request: ContinuationRequest) -> list[str]:
    """As many different texts as asked for, which depend on the prefix alone."""
    return [f"{request.prefix[-1:]}{i}" for i in range(request.samples)]


def tokenized(text: str, of: int = 0) -> Rollout:
    """A rollout of the tiny tokenizer's own tokens."""
    tokenizer = tiny_tokenizer()
    ids = tokenizer(text, add_special_tokens=False).input_ids
    draw = torch.Generator().manual_seed(of)
    return Rollout(
        prompt(id=f"p{of}"), torch.tensor([1, 2]), torch.tensor(ids), -torch.rand(len(ids), generator=draw),
        torch.rand(len(ids), generator=draw), pieces(tokenizer, ids),
    )  # fmt: skip


def chunk(start: int, length: int = 2) -> Fork:
    return Fork(start, start + length, 1.0)


ABC = ("a", "b", "c", "d", "e", "f")
