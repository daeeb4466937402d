"""Pre-training of the lab's teacher and student: sums first, then worked stories.

The teacher learns exact arithmetic. The student learns from answers whose author forgets most carries and borrows and
goes on from the wrong total: it is wrong at its mode, by a gap and not by noise, and still able to be right. Both learn
the same words.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from omniopd.tasks.stories import (
    ITEMS,
    NAMES,
    Compute,
    Story,
    exact,
    in_world,
    make_story,
    random_sum,
    without_carry,
    worked_answer,
)

FORGETS = 0.65  # how often the student's schoolbook forgets a carry or a borrow


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


TEACHER, STUDENT = Shape(128, 4, 384), Shape(96, 4, 320)


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
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
            max_position_embeddings=512,
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
    forgets: float,
    seed: int,
    report_every: int = 200,
) -> None:
    """Train in place on the model's device; `forgets` is the share of carries that the answers forget."""
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
    for step, (ids, learnt) in enumerate(pretraining_batches(tokenizer, schooling, forgets, seed)):
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
    tokenizer: PreTrainedTokenizerFast, schooling: Schooling, forgets: float, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """`schooling.steps` batches of (ids, learnt), each [row, time], padded on the right: `learnt` marks the tokens that
    count in the loss. They depend on the arguments alone."""
    rng = random.Random(f"pretrain/{seed}")
    told = _told(tokenizer, schooling, forgets, rng, seed)
    for step in range(schooling.steps):
        drilled = step < schooling.drilled * schooling.steps or rng.random() < schooling.still_drilled
        yield _padded(_sums(tokenizer, schooling.rows, forgets, rng) if drilled else next(told), tokenizer)


def forgetful(rng: random.Random, forgets: float) -> Compute:
    """Arithmetic that forgets a carry or a borrow with probability `forgets`."""
    return lambda a, sign, b: without_carry(a, sign, b) if rng.random() < forgets else exact(a, sign, b)


def schoolbook_answer(story: Story, rng: random.Random, forgets: float) -> str | None:
    """A worked answer by that arithmetic; None where twenty tries all left the world of two-digit totals."""
    for _ in range(20):
        results: dict[tuple[int, str, int], int] = {}
        compute = forgetful(rng, forgets)
        totals = story.totals(lambda a, s, b: results.setdefault((a, s, b), compute(a, s, b)))  # noqa: B023
        if all(map(in_world, totals)):
            return worked_answer(story, rng, lambda a, s, b: results[a, s, b])  # noqa: B023
    return None


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


Row = tuple[list[int], list[bool]]


def _sums(tokenizer: PreTrainedTokenizerFast, rows: int, forgets: float, rng: random.Random) -> list[Row]:
    """Rows of nine sums about one person's things. Learnt are the results, and to copy an earlier line's words: bare
    sums are learnt sooner, but words are then copied late or never."""
    texts = []
    for _ in range(rows):
        name, items = rng.choice(NAMES)[0], rng.choice(ITEMS)
        lines: list[str] = []
        while len(lines) < 9:
            a, sign, b = random_sum(rng)
            result = forgetful(rng, forgets)(a, sign, b)
            if in_world(result):
                lines.append(f"{name} has {a}{sign}{b}={result} {items}.\n")
        texts.append("".join(lines))
    equals, has = tokenizer.convert_tokens_to_ids(["=", *tokenizer.tokenize(" has")])
    return [(ids, _between(ids, equals, has)) for ids in tokenizer(texts).input_ids]


def _between(ids: Sequence[int], start: int, stop: int) -> list[bool]:
    """Which tokens lie behind a `start` and before the next `stop`."""
    inside, marked = False, []
    for token in ids:
        inside = inside and token != stop
        marked.append(inside)
        inside = inside or token == start
    return marked


def _told(
    tokenizer: PreTrainedTokenizerFast, schooling: Schooling, forgets: float, rng: random.Random, seed: int
) -> Iterator[list[Row]]:
    """Batches of stories of about one length; only the answers are learnt."""
    index = 0
    while True:
        questions: list[str] = []
        answers: list[str] = []
        while len(questions) < schooling.rows * schooling.pool:
            story = make_story("train", index, seed)
            index += 1
            answer = schoolbook_answer(story, rng, forgets)
            if answer is not None:
                messages = list(story.prompt().messages)
                questions.append(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
                answers.append(answer + tokenizer.eos_token)
        pairs = zip(tokenizer(questions).input_ids, tokenizer(answers).input_ids, strict=True)
        rows = [(q + a, [False] * len(q) + [True] * len(a)) for q, a in pairs]
        rows.sort(key=lambda row: len(row[0]))
        cut = [rows[i : i + schooling.rows] for i in range(0, len(rows), schooling.rows)]
        rng.shuffle(cut)
        yield from cut


def _padded(rows: Sequence[Row], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), tokenizer.pad_token_id)
    learnt = torch.zeros((len(rows), longest), dtype=torch.bool)
    for row, (tokens, mask) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        learnt[row, : len(mask)] = torch.tensor(mask)
    return ids, learnt
