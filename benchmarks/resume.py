"""Runs killed with SIGKILL at random moments and resumed: do they end with the same bits?

    python benchmarks/resume.py [--kills 50]

Each trial starts a small run of the embedded recipe, kills it after a random time (resumed runs may be killed again),
resumes it to its end, and compares the weights, the optimizer and the records with those of an uninterrupted run.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import multiprocessing
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from omniopd.config import load_recipe
from omniopd.io.quiet import quiet_libraries
from omniopd.pipeline.run import resume_training, run_training
from omniopd.runs.store import Run, open_run

SMALL = {
    "training.steps": 6, "training.rollouts": 4, "training.micro_batch": 2, "training.save_every": 2,
    "training.record_every": 1, "training.device": "cpu", "training.threads": 1, "student.max_tokens": 48,
    "audit.forks": 3, "audit.samples": 2, "audit.chunk_tokens": 3, "task.prompts": 64, "evaluation.problems": 2,
    "evaluation.samples": 1, "evaluation.temperatures": [0.0], "evaluation.controls": [],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    quiet_libraries()
    chance, same, kills = random.Random(options.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        _finish(Path(folder) / "whole", killed_after=None)
        seconds = time.perf_counter() - started
        expected = _facts(_run(Path(folder) / "whole"))
        trials = 0
        while kills < options.kills:
            place = Path(folder) / f"trial-{trials}"
            trials += 1
            while not _finish(place, killed_after=chance.uniform(0.05, seconds)):
                kills += 1
            same += _facts(_run(place)) == expected
    print("| kills | trials | ended with the same bits |\n| --- | --- | --- |")
    print(f"| {kills} | {trials} | {same} |")
    raise SystemExit(same != trials)


def _finish(folder: Path, killed_after: float | None) -> bool:
    """Starts or resumes the run in a forked process; whether it got to its end."""
    process = multiprocessing.get_context("fork").Process(target=_go_on, args=(folder,))
    process.start()
    process.join(killed_after)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode == 0


def _go_on(folder: Path) -> None:
    if any(folder.glob("*/manifest.json")):
        if _run(folder).state != "finished":
            resume_training(_run(folder).path, show=False)
    else:
        run_training(load_recipe("labels", **SMALL), folder, show=False)


def _run(folder: Path) -> Run:
    return open_run(next(folder.glob("*/manifest.json")).parent)


def _facts(run: Run) -> tuple:
    """What must not depend on kills: hashes of the last checkpoint and the student, and the records without times."""
    files = sorted([*run.path.glob("checkpoints/step-000006/*"), *run.path.glob("student/*")])
    hashes = [
        (f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files if f.suffix in (".safetensors", ".pt")
    ]
    timed = ("seconds", "time", "per_second")
    steps = [
        dataclasses.replace(
            s, seconds={}, metrics={k: v for k, v in s.metrics.items() if not any(word in k for word in timed)}
        )
        for s in run.steps()
    ]
    return hashes, steps, [run.rollouts(step) for step in run.rollout_steps()]


if __name__ == "__main__":
    main()
