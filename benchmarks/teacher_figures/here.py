"""The audit of a teacher that runs here beside one `generate` of the same sequences."""

from __future__ import annotations

import statistics
import time

import torch

from omniopd import embedded, peak_forks, sample
from omniopd.io.quiet import quiet_libraries
from omniopd.models.text.chat import prompt_ids, text_ids
from omniopd.teachers.local import LocalTeacher
from omniopd.types import ContinuationRequest

from .calling import Row

ROLLOUTS, FORKS, SAMPLES, TOKENS = 8, 10, 10, 16


def audit_beside_generate(rounds: int) -> list[Row]:
    """800 continuations of the embedded teacher: ours, and transformers' on one left-padded batch, in turns."""
    quiet_libraries()
    torch.set_num_threads(1)
    lab = embedded.lab()
    rollouts = sample(lab.student, lab.tokenizer, lab.task.prompts("test", ROLLOUTS), max_tokens=96)
    teacher = LocalTeacher(lab.teacher, lab.tokenizer)
    requests = [
        ContinuationRequest(rollout.prompt, "".join(rollout.pieces[: fork.start]), SAMPLES, TOKENS, seed=row)
        for row, rollout in enumerate(rollouts)
        for fork in peak_forks(rollout.entropies, forks=FORKS, chunk_tokens=1)
    ]
    sequences = [
        [*prompt_ids(lab.tokenizer, r.prompt.messages), *text_ids(lab.tokenizer, r.prefix)]
        for r in requests
        for _ in range(r.samples)
    ]
    longest = max(map(len, sequences))
    pad = lab.tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (longest - len(s)) + s for s in sequences])
    mask = torch.tensor([[0] * (longest - len(s)) + [1] * len(s) for s in sequences])

    def generate() -> None:
        with torch.no_grad():
            lab.teacher.generate(
                input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                max_new_tokens=TOKENS, pad_token_id=pad, eos_token_id=lab.tokenizer.eos_token_id,
            )  # fmt: skip

    ratios = []
    for number in range(rounds + 1):
        theirs = _used(generate)
        ours = _used(lambda: teacher.continue_from(requests))
        if number:
            ratios.append(ours / theirs)
    return [(f"audit of {len(sequences)} texts ÷ one padded generate, median", statistics.median(ratios), "≤", 1.1)]


def _used(work) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before
