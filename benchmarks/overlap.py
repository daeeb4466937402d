"""A step beside a teacher that takes its time: in waves, and one step ahead, beside the sum of the two.

    python benchmarks/overlap.py                  some five minutes on two quiet cores
    python benchmarks/overlap.py --steps 5 --rounds 1

A server on loopback answers each call after a second, 64 at a time. The embedded student answers 64 prompts a step and
is asked about at three forks of each, so that the student's work and the teacher's wall are about as long. Ways take
turns in one process; ratios are of medians over steps. Prints a Markdown table; exit status 1 where a goal is not met.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from omniopd.config import load_recipe
from omniopd.pipeline.methods import build_trainer
from omniopd.records import RolloutRecord, StepRecord
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.model_traits import ModelTraits
from tests.teachers.faulty_server import in_a_process

_MODEL = "hosted_vllm/m"
_WAYS: dict[str, dict[str, Any]] = {
    "one after the other": {},
    "2 waves": {"training.waves": 2},
    "4 waves": {"training.waves": 4},
    "a step ahead": {"training.staleness": 1},
}


class Steps:
    """A recorder that keeps the steps."""

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []

    def append(self, record: Any) -> None:
        self.steps.append(record)

    def write_rollouts(self, step: int, records: Any) -> list[RolloutRecord]:
        return []


def measured(url: str, steps: int, settings: dict[str, Any]) -> list[StepRecord]:
    """The steps of one run but the first two, in which connections open and nothing is ahead yet."""
    recipe = load_recipe(
        "embedded",
        **{
            "audit.way": "chunks", "audit.forks": 3, "audit.samples": 1, "audit.chunk_tokens": 4,
            "objective.target": "labels", "teacher.tokens_per_student_token": 1.3, "training.max_equal_share": 1.0,
            "training.steps": steps, "training.rollouts": 64, "training.micro_batch": 16, "training.record_every": 0,
            "training.save_every": steps, "training.probe_prompts": 0, "training.threads": 1,
        }
        | settings,
    )  # fmt: skip
    teacher = HostedTeacher(
        _MODEL, api_base=url, handover="instruction", traits=ModelTraits(_MODEL, "instruction"), concurrency=64
    )
    kept = Steps()
    with tempfile.TemporaryDirectory() as folder:
        build_trainer(recipe, Path(folder), kept, teacher=teacher).train()
    return kept.steps[2:]


def wall(step: StepRecord) -> float:
    return sum(step.seconds.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=1.0, metavar="S")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[StepRecord]] = {way: [] for way in _WAYS}
    with in_a_process(latency_s=options.latency, words=4) as url:
        for _ in range(options.rounds):
            for way, settings in _WAYS.items():
                found[way] += measured(url, options.steps, settings)
    plain = found["one after the other"]
    teacher = statistics.median(step.seconds["teacher"] for step in plain)
    student = statistics.median(wall(step) - step.seconds["teacher"] for step in plain)
    print(f"student {student:.2f} s, teacher {teacher:.2f} s a step, one after the other\n")
    print("| way | step, s | hidden, s | waited, s | ÷ sum | ÷ longer |\n| --- | --- | --- | --- | --- | --- |")
    ratios = {}
    for way, steps in found.items():
        step = statistics.median(map(wall, steps))
        hidden = statistics.median(s.metrics.get("teacher/seconds_hidden", 0.0) for s in steps)
        waited = statistics.median(s.seconds["teacher"] for s in steps)
        ratios[way] = step / (student + teacher), step / max(student, teacher)
        of_sum, of_longer = ratios[way]
        print(f"| {way} | {step:.2f} | {hidden:.2f} | {waited:.2f} | {of_sum:.2f} | {of_longer:.2f} |")
    reached = min(ratios["2 waves"][0], ratios["4 waves"][0]) <= 0.75 and ratios["a step ahead"][1] <= 1.15
    print("\nGoals: waves ≤ .75 of the sum; a step ahead ≤ 1.15 of the longer." + ("" if reached else " MISSED"))
    raise SystemExit(not reached)


if __name__ == "__main__":
    main()
