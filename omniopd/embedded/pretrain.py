"""Pre-training of a lab's teacher and student: sums first, then worked stories, from a schoolbook of each one's own."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from omniopd.tasks.stories import Story

Row = tuple[list[int], list[bool]]  # token ids, and which of them are learnt
Piece = tuple[str, bool]  # a stretch of an answer, and whether it is learnt


class Schoolbook(Protocol):
    """What a model is taught from; all of it is drawn from the generator that comes with the call."""

    def sums(self, tokenizer: PreTrainedTokenizerFast, rows: int, rng: random.Random) -> list[Row]:
        """Rows of sums that belong to no story."""
        ...

    def story(self, index: int, seed: int) -> Story:
        """Story number `index` of those a model of this seed is taught."""
        ...

    def answer(self, story: Story, rng: random.Random) -> list[Piece] | None:
        """How the book answers it, in pieces that begin and end where tokens do; None: it leaves this story out."""
        ...


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a small Qwen3."""

    hidden: int
    layers: int
    intermediate: int


@dataclass(frozen=True, slots=True)
class Schooling:
    """How long and how fast: `steps` batches, the first `drilled` share of them sums only, later ones now and then; the
    learning rate falls over the last `descent` share."""

    steps: int
    learning_rate: float = 2e-3
    warm_up: int = 100
    descent: float = 0.35
    drilled: float = 0.2
    still_drilled: float = 0.12
    rows: int = 32
    pool: int = 64  # batches cut from one pool of stories sorted by length
    told_rows: int = 0  # stories in a batch, where they are not as many as rows of sums
    until: int = 0  # batches after which it is broken off, for another to go on


def new_model(
    shape: Shape, tokenizer: PreTrainedTokenizerFast, seed: int, positions: int = 512
) -> Qwen3ForCausalLM:
    """A fresh Qwen3 whose generation_config samples as it was trained: temperature 1, neither top-k nor top-p."""
    torch.manual_seed(seed)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=positions,
            tie_word_embeddings=True,
            use_cache=True,
            initializer_range=0.05,
            **ends,
        )
    )
    model.generation_config = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, **ends)
    return model


def train(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    schooling: Schooling,
    book: Schoolbook,
    seed: int,
    report_every: int = 200,
) -> None:
    """Train in place on the model's device."""
    device = next(model.parameters()).device
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}],
        lr=schooling.learning_rate, betas=(0.9, 0.98), fused=True,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, schooling))
    model.train()
    started, tokens = time.monotonic(), 0
    for step, (ids, learnt) in enumerate(pretraining_batches(tokenizer, schooling, book, seed)):
        loss = _loss(model, ids.to(device), learnt.to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        tokens += ids.numel()
        if step % report_every == report_every - 1:
            spent = time.monotonic() - started
            print(f"step {step + 1}/{schooling.steps}  loss {loss.item():.3f}  {tokens / spent:,.0f} tokens/s  "
                  f"{spent:.0f} s", flush=True)  # fmt: skip
    model.eval()


def pretraining_batches(
    tokenizer: PreTrainedTokenizerFast, schooling: Schooling, book: Schoolbook, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """`schooling.steps` batches (or `until`) of (ids, learnt), each [row, time], padded on the right: `learnt` marks
    the tokens that count in the loss. They depend on the arguments alone."""
    rng = random.Random(f"pretrain/{seed}")
    told = _told(tokenizer, schooling, book, rng, seed)
    for step in range(schooling.until or schooling.steps):
        drilled = step < schooling.drilled * schooling.steps or rng.random() < schooling.still_drilled
        yield _padded(book.sums(tokenizer, schooling.rows, rng) if drilled else next(told), tokenizer)


def _rate(step: int, schooling: Schooling) -> float:
    """Share of the learning rate: a warm-up, a long plateau (copying names is learnt late, and suddenly), a descent."""
    if step < schooling.warm_up:
        return (step + 1) / schooling.warm_up
    return min(1.0, (schooling.steps - step) / (schooling.descent * schooling.steps))


def _loss(model: Qwen3ForCausalLM, ids: Tensor, learnt: Tensor) -> Tensor:
    """Cross-entropy on the learnt tokens only. Rows are padded on the right, so causal attention needs no mask."""
    hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1]
    targets, kept = ids[:, 1:], learnt[:, 1:]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[kept]), targets[kept])


# --- what is learnt -------------------------------------------------------------------------------------------------


def _told(
    tokenizer: PreTrainedTokenizerFast, schooling: Schooling, book: Schoolbook, rng: random.Random, seed: int
) -> Iterator[list[Row]]:
    """Batches of stories of about one length; only the answers are learnt."""
    index = 0
    size = schooling.told_rows or schooling.rows
    while True:
        questions: list[str] = []
        answers: list[list[Piece]] = []
        while len(questions) < size * schooling.pool:
            story = book.story(index, seed)
            index += 1
            answer = book.answer(story, rng)
            if answer is not None:
                messages = list(story.prompt().messages)
                questions.append(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
                answers.append([*answer, (tokenizer.eos_token, True)])
        pairs = zip(tokenizer(questions).input_ids, in_tokens(tokenizer, answers), strict=True)
        rows = [(q + a, [False] * len(q) + learnt) for q, (a, learnt) in pairs]
        rows.sort(key=lambda row: len(row[0]))
        cut = [rows[i : i + size] for i in range(0, len(rows), size)]
        rng.shuffle(cut)
        yield from cut


def in_tokens(tokenizer: PreTrainedTokenizerFast, texts: Sequence[Sequence[Piece]]) -> list[Row]:
    """Texts in pieces as rows: a token is learnt where its first character is."""
    whole = tokenizer(["".join(text for text, _ in pieces) for pieces in texts], return_offsets_mapping=True)
    rows = []
    for pieces, ids, offsets in zip(texts, whole.input_ids, whole.offset_mapping, strict=True):
        characters = [learnt for text, learnt in pieces for _ in text]
        rows.append((ids, [characters[start] for start, _ in offsets]))
    return rows


def _padded(rows: Sequence[Row], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), tokenizer.pad_token_id)
    learnt = torch.zeros((len(rows), longest), dtype=torch.bool)
    for row, (tokens, mask) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        learnt[row, : len(mask)] = torch.tensor(mask)
    return ids, learnt
