"""The lab's sentence embedding: one vector a token, averaged, taught that wordings are alike and numbers are not.

A static embedding sees a bag of tokens: it tells 62 from 52, and cannot tell 62 from 26.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from omniopd.tasks.stories import Move, Story, exact, in_world, make_story, random_sum, without_carry, worked_answer

WIDTH = 64


@dataclass(frozen=True, slots=True)
class Triplets:
    """Lines, other wordings of the same steps, and the first lines' own words with a wrong result."""

    lines: list[str]
    reworded: list[str]
    wrong: list[str]


def triplets(count: int, rng: random.Random) -> Triplets:
    """Seeded lines of worked answers; `reworded` differs from its line, `wrong` differs in the result alone."""
    made = Triplets([], [], [])
    while len(made.lines) < count:
        a, sign, b = random_sum(rng)
        right = exact(a, sign, b)
        slip = without_carry(a, sign, b)
        if slip == right:
            slip = right + rng.choice((-10, 10, -1, 1))
        if not in_world(slip):
            continue
        story = replace(make_story("train", rng.randrange(10**9)), start=a, moves=(Move(sign, b),))
        seed, other = rng.random(), rng.random()
        line, wrong = _line(story, seed, right), _line(story, seed, slip)
        reworded = _line(story, other, right)
        if reworded != line:
            made.lines.append(line)
            made.reworded.append(reworded)
            made.wrong.append(wrong)
    return made


def train_embedding(tokenizer: PreTrainedTokenizerFast, seed: int, steps: int) -> Tensor:
    """Token vectors [token, width] by a contrastive loss: a line against its rewording, other lines and wrong ones."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.nn.Parameter(0.1 * torch.randn(len(tokenizer), WIDTH, generator=generator))
    optimizer = torch.optim.Adam([vectors], lr=0.02)
    rng = random.Random(f"embedding/{seed}")
    for step in range(steps):
        batch = triplets(128, rng)
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        lines, right, wrong = (_means(tokenizer, vectors, t) for t in (batch.lines, batch.reworded, batch.wrong))
        scores = lines @ torch.cat([right, wrong]).T / 0.05
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(lines)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return vectors.detach()


def save_embedding(vectors: Tensor, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """A folder that `SentenceTransformer(folder)` loads offline."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    module = StaticEmbedding(tokenizer.backend_tokenizer, embedding_weights=vectors.numpy())
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(folder), create_model_card=False)


def told_apart(encode: Callable[[Sequence[str]], Tensor], count: int = 1000) -> float:
    """Share of held-out triplets in which a line is nearer to its rewording than to itself with a wrong result."""
    held_out = triplets(count, random.Random("held out/1000000"))
    line, right, wrong = (encode(texts) for texts in (held_out.lines, held_out.reworded, held_out.wrong))
    return float(((line * right).sum(1) > (line * wrong).sum(1)).float().mean())


def mean_encoder(tokenizer: PreTrainedTokenizerFast, vectors: Tensor) -> Callable[[Sequence[str]], Tensor]:
    """Texts → unit vectors [text, width]: the mean of their tokens' vectors, as StaticEmbedding computes it."""
    return lambda texts: _means(tokenizer, vectors, list(texts))


def _line(story: Story, seed: float, result: int) -> str:
    return worked_answer(story, random.Random(seed), lambda a, sign, b: result).split("\n")[0]


def _means(tokenizer: PreTrainedTokenizerFast, vectors: Tensor, texts: list[str]) -> Tensor:
    ids = [torch.tensor(row) for row in tokenizer(texts, add_special_tokens=False).input_ids]
    offsets = torch.tensor([0, *[len(row) for row in ids[:-1]]]).cumsum(0)
    means = torch.nn.functional.embedding_bag(torch.cat(ids), vectors, offsets, mode="mean")
    return torch.nn.functional.normalize(means, dim=-1)
