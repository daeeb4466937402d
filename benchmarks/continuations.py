"""Seconds of continuation cross-entropy, forward and backward: a tree for each rollout beside a row for each text.

    python benchmarks/continuations.py [--rounds 3]

The embedded student and a wider one on random tokens; both ways take turns in one process, and their losses are
compared. Goal: trees at least twice as fast, losses equal within 1e-4.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from omniopd import embedded
from omniopd.training.continuations import continuation_loss

GOAL, EQUAL = 2.0, 1e-4


@dataclass(frozen=True)
class Shape:
    """Of a micro-batch; every fork has `texts` different texts of `chunk` tokens."""

    rollouts: int
    prompt: int
    response: int
    forks: int
    texts: int
    chunk: int

    def batch(self, vocabulary: int) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(0)

        def tokens(*shape: int) -> Tensor:
            return torch.randint(5, vocabulary, shape, generator=draw)

        starts = torch.stack(
            [torch.randperm(self.response, generator=draw)[: self.forks] for _ in range(self.rollouts)]
        ).repeat_interleave(self.texts, dim=1)
        return {
            "prompt_ids": tokens(self.rollouts, self.prompt), "completion_ids": tokens(self.rollouts, self.response),
            "prompt_mask": torch.ones(self.rollouts, self.prompt, dtype=torch.long),
            "completion_mask": torch.ones(self.rollouts, self.response, dtype=torch.long),
            "continuation_ids": tokens(*starts.shape, self.chunk), "continuation_starts": starts,
            "continuation_lengths": torch.full_like(starts, self.chunk),
            "continuation_weights": torch.ones(starts.shape),
        }  # fmt: skip


def wider() -> nn.Module:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=8192, hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=8,
        num_key_value_heads=4, head_dim=32, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lab = embedded.lab().student
    cases = [
        ("embedded student", lab, Shape(32, 40, 45, forks=5, texts=2, chunk=3)),
        ("embedded student", lab, Shape(32, 40, 45, forks=8, texts=6, chunk=6)),
        ("4 layers of 256", wider(), Shape(2, 128, 256, forks=8, texts=8, chunk=16)),
    ]
    print("| student | rollouts × (prompt + response) | texts of each | trees, s | rows, s | rows / trees | off by |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    missed = 0
    for name, student, shape in cases:
        batch = shape.batch(student.config.vocab_size)
        seconds: dict[bool, list[float]] = {True: [], False: []}
        loss: dict[bool, float] = {}
        for _ in range(options.rounds):
            for trees in (True, False):
                began = time.perf_counter()
                found = continuation_loss(student, batch, 1000.0, trees=trees)
                found.backward()
                seconds[trees].append(time.perf_counter() - began)
                loss[trees] = float(found.detach())
                student.zero_grad()
        ratio = statistics.median(r / t for t, r in zip(seconds[True], seconds[False], strict=True))
        off = abs(loss[True] - loss[False]) / abs(loss[False])
        missed += ratio < GOAL or off > EQUAL
        print(
            f"| {name} | {shape.rollouts} × ({shape.prompt} + {shape.response}) | {shape.forks} forks × {shape.texts} "
            f"of {shape.chunk} tokens | {statistics.median(seconds[True]):.3f} | "
            f"{statistics.median(seconds[False]):.3f} | {ratio:.1f} | {off:.0e} |",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
