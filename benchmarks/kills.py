"""Is a launched run's status right whenever its kernel is killed, and does it go on from its last checkpoint?

    python benchmarks/kills.py [--kills 30]

One run of the embedded models in a notebook of its own. Its kernel gets SIGKILL at random moments: as it starts, while
it loads and measures, while it trains and saves. After each the exit status, `status.json` and the records are looked
at, and the run is resumed. At the end it is stopped after a step, and its records must hold every step once.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import nbformat

from omniopd.config import load_recipe, recipe_toml
from omniopd.launch import Launched, launch, resume
from omniopd.runs.status import is_alive
from omniopd.training.trl.checkpoints import newest_valid, step_of

CELL = """\
from omniopd import load_recipe
from omniopd.pipeline.run import execute
from omniopd.runs import create_run
execute(create_run("runs", load_recipe(recipe)), show=False)
"""
SMALL = {
    "training.steps": 100_000, "training.rollouts": 2, "training.micro_batch": 2, "training.save_every": 1,
    "training.record_every": 1, "training.device": "cpu", "training.threads": 1, "student.max_tokens": 24,
    "audit.forks": 2, "audit.samples": 2, "audit.chunk_tokens": 3, "task.prompts": 64, "evaluation.problems": 2,
    "evaluation.samples": 1, "evaluation.temperatures": [0.0], "evaluation.controls": [],
}  # fmt: skip
MOMENTS = ("as its kernel starts", "while it loads", "after a step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    kills = parser.parse_args().kills
    rng, began = random.Random(0), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OMNIOPD_QUEUE"] = f"{folder}/queue"
        launched = begin(Path(folder))
        right: Counter[str] = Counter()
        tried: Counter[str] = Counter()
        for number in range(kills):
            moment = MOMENTS[number % len(MOMENTS)]
            tried[moment] += 1
            right[moment] += one_kill(launched, moment, rng)
            resume(launched.path)
        done = last_step(launched)
        wait(lambda: last_step(launched) > done or not launched.is_running())
        launched.stop()
        launched.wait()
        steps = [record.step for record in launched.run.steps()] if launched.run else []
        whole = steps == list(range(1, launched.status.step + 1))
        ended = launched.state
    print("| killed | status right, exit status not 0, went on | of |\n| --- | --- | --- |")
    for moment in MOMENTS:
        print(f"| {moment} | {right[moment]} | {tried[moment]} |")
    print(f"| all | {sum(right.values())} | {sum(tried.values())} |")
    print(f"\n{len(steps)} steps, {'every one recorded once' if whole else f'but recorded as {steps}'}; "
          f"stopped at last: {ended}; {time.monotonic() - began:.0f} s")  # fmt: skip
    raise SystemExit(0 if whole and right == tried else 1)


def begin(folder: Path) -> Launched:
    recipe = folder / "kills.toml"
    recipe.write_text(recipe_toml(load_recipe("labels", **SMALL)), encoding="utf-8")
    parameters = nbformat.v4.new_code_cell('recipe: str = "embedded"', metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(CELL)])
    nbformat.write(notebook, folder / "kills.ipynb")
    return launch(folder / "kills.ipynb", {"recipe": str(recipe)}, folder, "run")


def one_kill(launched: Launched, moment: str, rng: random.Random) -> bool:
    """Wait for the moment, kill, look; whether all was as it should be."""
    before = last_step(launched)
    wait(lambda: kernel_lives(launched) or not launched.is_running())
    if moment == "while it loads":
        wait(lambda: launched.process.cell == launched.process.cells or not launched.is_running())
        time.sleep(rng.uniform(0, 5))
    elif moment == "after a step":
        # The one after the last checkpoint: it shows that the run went on from there.
        wait(lambda: last_step(launched) > before or not launched.is_running())
        time.sleep(rng.uniform(0, 0.5))
    went_on = moment != "after a step" or last_step(launched) > before
    if not kernel_lives(launched):
        raise SystemExit(f"it ended by itself: {launched.status.message}")
    os.kill(launched.process.kernel_pid, signal.SIGKILL)
    launched.wait()
    status, code = launched.status, launched.exit_code
    checkpoint = newest_valid(launched.path / "checkpoints") if (launched.path / "checkpoints").is_dir() else None
    saved = 0 if checkpoint is None else step_of(checkpoint)
    good = (
        code == 137 and launched.state == "failed" and "SIGKILL" in status.message
        and went_on and saved >= before - 1 and launched.notebook.exists()
    )  # fmt: skip
    words = f"exit {code}, {launched.state} ({status.message}), step {status.step}, checkpoint {saved}"
    print(f"{moment}: {words}", file=sys.stderr, flush=True)
    return good


def kernel_lives(launched: Launched) -> bool:
    process = launched.process
    return is_alive(process.kernel_pid, process.kernel_started)


def last_step(launched: Launched) -> int:
    run = launched.run
    steps = run.steps() if run is not None else []
    return steps[-1].step if steps else 0


def wait(condition: object, seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            raise SystemExit("it did not happen in ten minutes")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
