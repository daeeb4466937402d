"""Seconds of a training step with a teacher that answers at once, beside TRL's own on-policy distillation.

    python benchmarks/step.py [--rollouts 32] [--tokens 96] [--steps 5] [--rounds 7]

Beside it the growth of the resident set at its peak. Same student, same reference (TRL's teacher), same prompts, every
answer of full length; the trainers take turns in one process. Goal: at most 1.25 times TRL's DistillationTrainer.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from scoring import peak_resident
from transformers import PrinterCallback, TrainerCallback
from trl import DistillationConfig, DistillationTrainer

from omniopd import embedded
from omniopd.io.quiet import quiet_libraries
from omniopd.models.loading import frozen_copy
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.trainer import OmniOPDConfig, OmniOPDTrainer

GOAL = 1.25


class StepTimes(TrainerCallback):
    """Wall-clock seconds between the ends of steps; the first step of a round warms up."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last: float | None = None

    def on_train_begin(self, *arguments, **options) -> None:
        self._last = None

    def on_step_end(self, *arguments, **options) -> None:
        now = time.perf_counter()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    quiet_libraries()
    times: dict[str, list[float]] = {
        "TRL DistillationTrainer": [],
        "OmniOPDTrainer, paper": [],
        "OmniOPDTrainer, labels": [],
    }
    peaks: dict[str, list[float]] = {name: [] for name in times}
    audits = (
        None,
        {"forks": 10, "samples": 10, "chunk_tokens": 6},
        {"forks": 16, "samples": 8, "chunk_tokens": 2, "target": "labels", "similarity": "exact"},
    )
    for _ in range(options.rounds):
        for name, audit in zip(times, audits, strict=True):
            before = peak_resident(anew=True)
            times[name].append(_round(options, audit))
            peaks[name].append(peak_resident() - before)
    base = times["TRL DistillationTrainer"]
    print("| trainer | seconds a step (median) | times TRL's (median of rounds) | goal | peak MB (median) |")
    print("| --- | --- | --- | --- | --- |")
    for name, seconds in times.items():
        ratio = statistics.median(own / other for own, other in zip(seconds, base, strict=True))
        goal = "" if seconds is base else f"≤ {GOAL}"
        peak = statistics.median(peaks[name])
        print(f"| {name} | {statistics.median(seconds):.3f} | {ratio:.2f} | {goal} | {peak:.0f} |")


def _round(options: argparse.Namespace, audit: dict | None) -> float:
    """Median seconds a step of one short training from the same start."""
    lab, times = embedded.lab(), StepTimes()
    rows = lab.task.prompts("train", options.rollouts * (options.steps + 1))
    data = Dataset.from_list([{"prompt": list(p.messages)} for p in rows])
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "output_dir": str(Path(folder)), "per_device_train_batch_size": options.rollouts,
            "max_steps": options.steps + 1, "max_completion_length": options.tokens,
            "use_cpu": not torch.cuda.is_available(), "shuffle_dataset": False,
            "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "logging_steps": 1, "bf16": False,
            "gradient_checkpointing": False, "generation_kwargs": {"min_new_tokens": options.tokens},
        }  # fmt: skip
        shared = {"train_dataset": data, "processing_class": lab.tokenizer, "callbacks": [times]}
        if audit is None:
            config = DistillationConfig(**settings, beta=0.0)
            trainer = DistillationTrainer(lab.student, frozen_copy(lab.student), config, **shared)
        else:
            config = OmniOPDConfig(**settings, **audit, allow_off_policy=True)  # answers are held to a length
            trainer = OmniOPDTrainer(
                lab.student, ScriptedTeacher(["apples in all", "shells", "has 12+9"]), config, **shared
            )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return statistics.median(times.seconds)


if __name__ == "__main__":
    main()
