"""Does the student learn, and is it the teacher? Every target, every control and white-box OPD, on the embedded lab.

    python benchmarks/learning.py                      # the whole table (hours on 2 cores); resumable
    python benchmarks/learning.py --arms recipe prior_only --seeds 0 1 2
    python benchmarks/learning.py --report             # only the table of what is there

Each cell is one run with one torch thread. Learning rates are tried on a seed that is not reported, as many for every
arm (a control keeps the recipe's); the seeds of the table are the units of its intervals (Student's t). The rise is
that of the best-temperature accuracy, which sharpening alone cannot raise.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from omniopd.config import override
from omniopd.errors import OmniOPDError
from omniopd.evaluation.compare import seed_interval
from omniopd.runs.store import Run, open_run

# Two arms differ in what they name here and in nothing else. Targets that compare whole chunks need chunks: these
# audit at most as many tokens of an answer (24 of about 45) as the warning of the preflight allows.
CHUNKS = {"audit.forks": 8, "audit.chunk_tokens": 3}
ARMS: dict[str, dict[str, object]] = {
    "recipe": {},
    "white_box": {"method": "white_box"},
    "self_teacher": {"objective.control": "self_teacher"},
    "prior_only": {"objective.control": "prior_only"},
    "shuffled": {"objective.control": "shuffled"},
    "constant": {"objective.control": "constant"},
    "paper": {
        "objective.target": "paper", "audit.similarity": "characters", "audit.forks": 4, "audit.chunk_tokens": 6,
        "audit.samples": 10,
    },
    "centred, exact": {"objective.target": "centred", **CHUNKS},
    "prefix credit": {"objective.target": "prefix_credit", **CHUNKS},
    "continuations": {"objective.target": "none", "objective.continuation_weight": 1.0, **CHUNKS},
    "labels, depth 2": {"objective.depth": 2, "audit.forks": 12, "audit.chunk_tokens": 2},
    "centred, characters^8": {
        "objective.target": "centred", "audit.similarity": "characters", "audit.power": 8.0, **CHUNKS,
    },
    "centred, characters": {"objective.target": "centred", "audit.similarity": "characters", **CHUNKS},
    "paper, exact": {"objective.target": "paper", **CHUNKS},
}  # fmt: skip
CONTROLS = ("self_teacher", "prior_only", "shuffled", "constant")
UNTRAINED = "untrained"
DEVELOPMENT_SEED = 1000


def main() -> None:
    options = _options()
    chosen = options.arms or list(ARMS)
    tried = [arm for arm in chosen if arm not in CONTROLS]
    if not options.report:
        trials = [(arm, rate, DEVELOPMENT_SEED) for arm in tried for rate in options.rates if len(options.rates) > 1]
        _run_all(trials, options)
    # A control is the recipe with one thing taken away, so it keeps the recipe's rate.
    rates = {arm: _best_rate(options.out, "recipe" if arm in CONTROLS else arm, options.rates) for arm in chosen}
    if not options.report:
        untrained = [(UNTRAINED, 1.0, seed) for seed in options.seeds]
        _run_all([*untrained, *((arm, rates[arm], seed) for seed in options.seeds for arm in chosen)], options)
    table = pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "rate": rates[arm], **_numbers(run, before)}
            for seed in options.seeds
            if (before := _run(options.out, UNTRAINED, 1.0, seed))
            for arm in chosen
            if (run := _run(options.out, arm, rates[arm], seed))
        ]
    )
    print(_report(table))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), metavar="ARM", help=f"of: {', '.join(ARMS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--rates", nargs="+", type=float, default=[0.5, 1.0, 2.0], help="times the recipe's learning rate"
    )
    parser.add_argument("--recipe", default="embedded")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings for every arm")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args()


def _folder(out: Path, arm: str, rate: float, seed: int) -> Path:
    return out / arm.replace(", ", "-").replace(" ", "_").replace("^", "") / f"rate-{rate:g}" / f"seed-{seed}"


def _run(out: Path, arm: str, rate: float, seed: int) -> Run | None:
    """The finished run of a cell, or None."""
    found = [open_run(path.parent) for path in _folder(out, arm, rate, seed).glob("*/manifest.json")]
    finished = [run for run in found if run.state == "finished"]
    return finished[-1] if finished else None


def _run_all(cells: list[tuple[str, float, int]], options: argparse.Namespace) -> None:
    waiting = [cell for cell in cells if _run(options.out, *cell) is None]
    # Spawned, because a forked process inherits torch's threads; one process for many cells, because imports cost.
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"), initializer=_quiet) as pool:
        started = {pool.submit(_train, cell, options): cell for cell in waiting}
        for done in as_completed(started):
            arm, rate, seed = started[done]
            print(f"{arm}, rate × {rate:g}, seed {seed}: {done.result()}", flush=True)


def _quiet() -> None:
    from omniopd.cli.quiet import quiet_libraries

    quiet_libraries()


def _train(cell: tuple[str, float, int], options: argparse.Namespace) -> str:
    """Runs one cell to its end; says what came of it. The untrained student is a cell of its own, once per seed."""
    import torch

    from omniopd.build import build_student, build_task, build_teacher_model
    from omniopd.config import load_recipe
    from omniopd.job import measured
    from omniopd.methods import build_trainer
    from omniopd.runs.store import create_run

    arm, rate, seed = cell
    base = load_recipe(options.recipe)
    settings = {
        "seed": seed, "name": arm, "training.threads": 1, "training.learning_rate": base.training.learning_rate * rate,
        "training.record_every": 10**6, "training.save_every": 10**6, **ARMS.get(arm, {}),
    }  # fmt: skip
    recipe = override(load_recipe(options.recipe, **settings), options.set)
    torch.set_num_threads(1)
    run = create_run(_folder(options.out, arm, rate, seed), recipe)
    try:
        student = build_student(recipe)
        if arm != UNTRAINED:
            build_trainer(recipe, run.checkpoints, run, student, build_teacher_model(recipe)).train()
        student.model.eval()
        step = 0 if arm == UNTRAINED else recipe.training.steps
        for temperature in recipe.evaluation.temperatures:
            run.append(measured("student", student, build_task(recipe), recipe, temperature, 1, step=step))
    except OmniOPDError as error:
        run.set_status(state="failed", message=str(error))
        return f"failed: {error}"
    run.set_status(state="finished")
    return ", ".join(f"{e.temperature:g}: {100 * e.accuracy:.1f}" for e in run.evals())


def _best_rate(out: Path, arm: str, rates: list[float]) -> float:
    """The rate whose development run ended highest; the middle one where there was no trial."""
    scores = {rate: _numbers(run)["after"] for rate in rates if (run := _run(out, arm, rate, DEVELOPMENT_SEED))}
    return max(scores, key=lambda rate: scores[rate]) if scores else sorted(rates)[len(rates) // 2]


def _numbers(run: Run, before: Run | None = None) -> dict[str, float]:
    """Best-temperature, greedy and T = 1 accuracy, and their rises over the untrained student, in points."""
    after = {e.temperature: 100 * e.accuracy for e in run.evals()}
    found = {"after": max(after.values()), "greedy": after[0.0], "T=1": after[1.0]}
    steps = run.steps()
    found |= {"teacher tokens": sum(s.output_tokens for s in steps), "steps": len(steps)}
    if before is not None:
        start = {e.temperature: 100 * e.accuracy for e in before.evals()}
        found |= {"before": max(start.values()), "rise": found["after"] - max(start.values())}
        found |= {"greedy rise": after[0.0] - start[0.0], "T=1 rise": after[1.0] - start[1.0]}
    return found


def _report(table: pd.DataFrame) -> str:
    if table.empty:
        return "nothing has finished yet"
    rows = []
    recipe = table[table.arm == "recipe"].set_index("seed")
    for arm, part in table.groupby("arm", sort=False):
        part = part.set_index("seed")
        row = {"arm": arm, "seeds": len(part), "rate ×": part.rate.iloc[0]}
        for column in ("before", "after", "rise", "greedy rise", "T=1 rise"):
            row[column] = _with_interval(part[column])
        shared = recipe.index.intersection(part.index)
        row["recipe minus this"] = (
            "" if arm == "recipe" else _with_interval((recipe["rise"] - part["rise"]).loc[shared])
        )
        row["teacher tokens"] = f"{part['teacher tokens'].mean():,.0f}"
        rows.append(row)
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row[c]) for c in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _with_interval(values: pd.Series) -> str:
    if len(values) < 2:
        return f"{values.mean():.1f}" if len(values) else ""
    found = seed_interval(values.tolist())
    return f"{found.mean:.1f} [{found.low:.1f}, {found.high:.1f}]"


if __name__ == "__main__":
    main()
