"""Seconds of a training step on the lab's pair: a scan beside white-box distillation and the labels at forks.

    python benchmarks/scan_step.py [--rollouts 64] [--steps 4] [--rounds 5]

The trainers of the embedded recipe take turns in one process, from the same weights on the same prompts; weights hardly
move. Goal: a scan's step takes at most 1.05 times the white-box one's. The process's CPU seconds stand beside those of
the clock, which other work on the machine stretches.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from omniopd.config import load_recipe
from omniopd.io.quiet import quiet_libraries
from omniopd.pipeline.methods import build_trainer

GOAL = 1.05
SCAN = {
    "audit.way": "scan", "audit.forks": 0, "audit.samples": 1, "audit.chunk_tokens": 96,
    "objective.target": "posterior_kl", "objective.concentration": 0.3, "objective.anchor_weight": 0.0,
}  # fmt: skip
ARMS = {"white_box": {"method": "white_box"}, "scan": SCAN, "labels": {}}


class Seconds:
    """A recorder of steps' seconds, by phase and of this process's CPU; the first step warms up."""

    def __init__(self) -> None:
        self.phases: list[dict[str, float]] = []
        self.cpu: list[float] = []
        self._mark = 0.0

    def append(self, record) -> None:
        now = time.process_time()
        if record.step > 1:
            self.phases.append(dict(record.seconds))
            self.cpu.append(now - self._mark)
        self._mark = now

    def write_rollouts(self, step, records) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)
    rounds: dict[str, list[Seconds]] = {name: [] for name in ARMS}
    for _ in range(options.rounds):
        for name, settings in ARMS.items():
            rounds[name].append(_round(options, settings))
    print("Seconds of a step, medians of steps; times white-box, medians of rounds.\n")
    print("| trainer | clock | times white-box | CPU | times white-box | of the clock |")
    print("| --- | --- | --- | --- | --- | --- |")
    clock, cpu = (
        {name: [statistics.median(of(one)) for one in own] for name, own in rounds.items()}
        for of in (lambda one: [sum(phases.values()) for phases in one.phases], lambda one: one.cpu)
    )
    for name, own in rounds.items():
        told = [f"{statistics.median(found[name]):.2f} | {_times(found, name):.2f}" for found in (clock, cpu)]
        steps = [phases for one in own for phases in one.phases]
        parts = {phase: statistics.median(one.get(phase, 0.0) for one in steps) for phase in steps[0]}
        said = ", ".join(f"{phase} {value:.2f}" for phase, value in parts.items())
        print(f"| {name} | {told[0]} | {told[1]} | {said} |")
    print(f"\nGoal: scan at most {GOAL} times white-box.")


def _times(found: dict[str, list[float]], name: str) -> float:
    return statistics.median(own / other for own, other in zip(found[name], found["white_box"], strict=True))


def _round(options: argparse.Namespace, settings: dict) -> Seconds:
    recipe = load_recipe(
        "labels",
        **{
            "training.steps": options.steps + 1, "training.rollouts": options.rollouts,
            "training.micro_batch": options.rollouts, "training.learning_rate": 1e-9, "training.record_every": 0,
            "training.probe_prompts": 0, "evaluation.controls": [], "training.allow_zero_gradient": True, **settings,
        },
    )  # fmt: skip
    kept = Seconds()
    with tempfile.TemporaryDirectory() as folder:
        build_trainer(recipe, Path(folder), kept).train()
    return kept


if __name__ == "__main__":
    main()
