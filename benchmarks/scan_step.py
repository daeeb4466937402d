"""Seconds of a training step on the lab's pair: a scan beside white-box distillation and the labels at forks.

    python benchmarks/scan_step.py [--rollouts 64] [--steps 4] [--rounds 5]

The trainers of the embedded recipe take turns in one process, from the same weights on the same prompts; weights hardly
move. Goal: a scan's step takes at most 1.05 times the white-box one's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
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
    """A recorder of steps' seconds; the first step warms up."""

    def __init__(self) -> None:
        self.phases: list[dict[str, float]] = []

    def append(self, record) -> None:
        if record.step > 1:
            self.phases.append(dict(record.seconds))

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
    found: dict[str, list[float]] = {name: [] for name in ARMS}
    phases: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    for _ in range(options.rounds):
        for name, settings in ARMS.items():
            steps = _round(options, settings)
            found[name].append(statistics.median(sum(one.values()) for one in steps))
            phases[name] += steps
    print("| trainer | seconds a step (median) | times white-box (median of rounds) | of it |")
    print("| --- | --- | --- | --- |")
    for name, seconds in found.items():
        ratio = statistics.median(own / other for own, other in zip(seconds, found["white_box"], strict=True))
        parts = {phase: statistics.median(one.get(phase, 0.0) for one in phases[name]) for phase in phases[name][0]}
        said = ", ".join(f"{phase} {value:.2f}" for phase, value in parts.items())
        print(f"| {name} | {statistics.median(seconds):.2f} | {ratio:.2f} | {said} |")
    print(f"\nGoal: scan at most {GOAL} times white-box.")


def _round(options: argparse.Namespace, settings: dict) -> list[dict[str, float]]:
    recipe = load_recipe(
        "embedded",
        **{
            "training.steps": options.steps + 1, "training.rollouts": options.rollouts,
            "training.micro_batch": options.rollouts, "training.learning_rate": 1e-9, "training.record_every": 0,
            "training.probe_prompts": 0, "evaluation.controls": [], "training.allow_zero_gradient": True, **settings,
        },
    )  # fmt: skip
    kept = Seconds()
    with tempfile.TemporaryDirectory() as folder:
        build_trainer(recipe, Path(folder), kept).train()
    return kept.phases


if __name__ == "__main__":
    main()
