"""Make the recorded runs that ship with the package: what notebooks and views show where nothing has been trained.

    python benchmarks/record.py                    # all of them, into omniopd/embedded/recorded (minutes on 2 cores)
    python benchmarks/record.py --only embedded --out FOLDER

Each is a real run of a recipe that ships, as it is or with one thing changed, thinned to a few rollouts a step and
without its models, so that it is small enough to ship.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from omniopd.config import load_recipe
from omniopd.embedded import RECORDED
from omniopd.io.quiet import quiet_libraries
from omniopd.pipeline.run import execute
from omniopd.runs.files.claims import LOCK
from omniopd.runs.files.folders import BEST, BEST_NOTE
from omniopd.runs.store import create_run

ROLLOUTS_KEPT = 3  # of a step; probes are all kept
EVERY = {
    "evaluation.problems": 100, "evaluation.samples": 8, "evaluation.controls": (), "evaluation.every": 10,
    "training.record_every": 5, "training.save_every": 1000, "training.probe_prompts": 3,
}  # fmt: skip
# Chunks of several tokens read better than the single ones of the recipe with labels.
CHUNKS = {"audit.forks": 4, "audit.chunk_tokens": 6, "audit.samples": 10, "audit.similarity": "characters"}
RUNS: dict[str, tuple[str, dict[str, object]]] = {
    "embedded": ("embedded", {}),
    "self_teacher": ("embedded", {"objective.control": "self_teacher"}),
    "labels": ("labels", {}),
    "paper": ("labels", {"objective.target": "paper", **CHUNKS}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--out", type=Path, default=RECORDED)
    options = parser.parse_args()
    quiet_libraries()
    for name in options.only:
        shutil.rmtree(options.out / name, ignore_errors=True)
        record(options.out, name)
        size = sum(file.stat().st_size for file in (options.out / name).rglob("*") if file.is_file())
        print(f"{name}: {size / 1e6:.2f} MB", flush=True)


def record(out: Path, name: str) -> None:
    """One run, trained and thinned."""
    shipped, changes = RUNS[name]
    recipe = load_recipe(shipped, **{"name": name, **EVERY, **changes})
    run = execute(create_run(out, recipe, name, command=("python", "benchmarks/record.py", "--only", name)))
    for step in run.rollout_steps():
        records = run.rollouts(step)
        kept = [r for r in records if r.row < ROLLOUTS_KEPT or r.row >= recipe.training.rollouts]
        run.write_rollouts(step, kept)
    for folder in (run.checkpoints, run.student, run.path / BEST):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (BEST_NOTE, LOCK):
        (run.path / file).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
