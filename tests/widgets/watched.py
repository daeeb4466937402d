"""Run directories for the views of runs, written as a run writes them and without training anything."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import threading
from pathlib import Path
from typing import Any

from omniopd.config import Recipe, load_recipe
from omniopd.records import AuditRecord, EvalRecord, ProblemResult, RolloutRecord, RunManifest, StepRecord, record_json
from omniopd.runs.status import Status, first_status, write_status
from omniopd.runs.store import MANIFEST, RECIPE, ROLLOUTS, STATUS, Run, open_run

SECONDS = 20  # a change that takes longer does not come
ANSWER = "Maya has 4 apples and buys 7 more . She gives 3 to Tom , so 4 + 7 - 3 = 8 ."


def run_in(folder: Path, name: str = "watched", steps: int = 40, state: str = "running", **settings: Any) -> Run:
    """An empty run. With state "running" it is this process's."""
    recipe = load_recipe("labels", **{"training.steps": steps, "name": name, **settings})
    path = folder / name
    (path / ROLLOUTS).mkdir(parents=True)
    (path / RECIPE).write_text("")
    write_manifest(path, name, recipe)
    status = first_status(steps)
    write_status(path / STATUS, status if state == "running" else dataclasses.replace(status, state=state, pid=0))
    return open_run(path)


def write_manifest(path: Path, name: str, recipe: Recipe | None = None, created: str = "2026-11-23T06:00:00Z") -> None:
    recipe = recipe or load_recipe("labels")
    manifest = RunManifest(name, recipe.as_dict(), recipe.seed, created, {"omniopd": "0"}, {"cpus": 2})
    path.mkdir(parents=True, exist_ok=True)
    (path / MANIFEST).write_text(record_json(manifest), encoding="utf-8")


def with_steps(run: Run, first: int = 1, last: int = 40, *, recorded: int = 10, probes: int = 1, seed: int = 0) -> Run:
    """Steps `first` … `last` of a run that learns, rollouts at step 1 and every `recorded` steps."""
    for number in range(first, last + 1):
        run.append(step(number, seed=seed))
        run.set_status(step=number, message="training")
        if recorded and (number == 1 or number % recorded == 0):
            batch = [rollout(number, row, seed=seed) for row in range(4)]
            held_out = [rollout(number, 4 + i, f"test-{i}", probe=True, seed=i) for i in range(probes)]
            run.write_rollouts(number, batch + held_out)
    return run


def finished(run: Run, state: str = "finished") -> Run:
    """The run, over: with `state`, and evaluations before and after."""
    for record in evals():
        run.append(record)
    status = run.status
    write_status(run.path / STATUS, Status(state, 0, 0.0, status.step, status.steps, status.started, status.updated))
    return run


def step(number: int, seed: int = 0, **changes: Any) -> StepRecord:
    draw = random.Random(f"{seed} {number}")
    fall = math.exp(-number / 15)
    noise = draw.uniform(-0.03, 0.03)
    record = StepRecord(
        step=number,
        loss=0.9 * fall + 0.2 + noise,
        chunk_loss=0.85 * fall + 0.15 + noise,
        anchor_loss=0.05 * (1 - fall) + abs(noise) / 10,
        metrics={
            "targets/mean": 0.5 - 0.2 * fall, "targets/between_std": 0.2, "targets/within_std": 0.0,
            "soft_count/share_mean": 0.8 - 0.4 * fall, "targets/negative_share": 0.1, "audited/token_share": 0.33,
            "entropy/forks": 0.4 + fall, "entropy/elsewhere": 0.05 + 0.1 * fall, "kl/audited": 0.02 * (1 - fall),
            "kl/anchored": 0.004 * (1 - fall), "length/mean": 42 + 3 * fall, "length/cut_off_share": 0.02,
            "step_time": 3.6 + noise,
        },
        failures={"context": 2} if number % 7 == 0 else {},
        input_tokens=51_200,
        output_tokens=8_192,
        seconds={"sampling": 0.9 + noise, "scoring": 0.35, "teacher": 0.8, "similarity": 0.02, "loss": 0.7},
    )  # fmt: skip
    return dataclasses.replace(record, **changes)


def rollout(
    number: int, row: int, prompt: str = "", probe: bool = False, seed: int = 0, **changes: Any
) -> RolloutRecord:
    """An answer of some words; its forks are at the same places at every step, its end changes with the steps."""
    draw = random.Random(f"{seed} {row}")
    pieces = [f" {word}" for word in ANSWER.split()]
    pieces[-2] = " 8" if number >= 20 else " 9"
    entropies = [draw.uniform(0, 0.3) for _ in pieces]
    audits = []
    for start in (6, 13, len(pieces) - 2):
        entropies[start] = 0.3 + 1.4 * math.exp(-number / 15) + draw.uniform(0, 0.3)
        trust = 0.9 - 0.6 * math.exp(-number / 20)
        texts = tuple([pieces[start]] * 3 + [" ten"])
        audits.append(
            AuditRecord(
                start, start + 1, entropies[start], pieces[start], texts, (1.0, 1.0, 1.0, 0.0), 3.0, 0.5, trust, 1.0,
                input_tokens=120, output_tokens=4, served_model="embedded:teacher", handover="raw",
            )
        )  # fmt: skip
    record = RolloutRecord(
        row=row,
        step=number,
        prompt_id=prompt or f"train-{4 * number + row}",
        messages=({"role": "user", "content": f"How many apples has Maya in the end? ({prompt or row})"},),
        pieces=tuple(pieces),
        logprobs=tuple(-e for e in entropies),
        entropies=tuple(entropies),
        anchored=tuple(False for _ in pieces) if probe else tuple(i not in (6, 13) for i in range(len(pieces))),
        answer="8",
        audits=tuple(audits),
        unanswered=() if row else ((2, "context"),),
        probe=probe,
    )
    return dataclasses.replace(record, **changes)


def evals(rise: float = 0.1, problems: int = 60, steps: int = 40, seed: int = 0) -> list[EvalRecord]:
    """Student before and after, and teacher, at three temperatures; `rise` is that of the share of right answers."""
    found = []
    for model, at_step, share in (("student", 0, 0.5), ("student", steps, 0.5 + rise), ("teacher", 0, 0.8)):
        for temperature in (0.0, 0.5, 1.0):
            draw = random.Random(f"{model} {at_step} {temperature} {seed}")
            samples = 1 if temperature == 0 else 4
            results = tuple(
                ProblemResult(
                    f"test-{i}", sum(draw.random() < share for _ in range(samples)), samples, samples, 0, 40.0
                )
                for i in range(problems)
            )
            found.append(EvalRecord(model, "stories", "test", temperature, samples, 0, 96, results, at_step, 2.0))
    return found


def damaged(folder: Path) -> dict[str, Path]:
    """Directories that look like runs and cannot be read, by what is wrong with them."""
    found = {}
    for what, text in (("not json", "{"), ("a list", "[]"), ("another record", record_json(step(1)))):
        path = folder / what.replace(" ", "-")
        path.mkdir(parents=True)
        (path / MANIFEST).write_text(text)
        found[what] = path
    no_status = folder / "no-status"
    write_manifest(no_status, "no-status")
    found["no status"] = no_status
    no_manifest = folder / "no-manifest"
    no_manifest.mkdir()
    (no_manifest / "steps.jsonl").write_text(record_json(step(1)) + "\n")
    found["no manifest"] = no_manifest
    odd = folder / "odd-recipe"
    write_manifest(odd, "odd-recipe")
    data = json.loads((odd / MANIFEST).read_text())
    data["recipe"] = ["not", "a", "table"]
    (odd / MANIFEST).write_text(json.dumps(data))
    write_status(odd / STATUS, Status(state="finished"))
    found["odd recipe"] = odd
    return found


def until(view, trait, holds):
    """Wait until `holds()`, looking whenever the trait changes."""
    changed = threading.Event()
    view.observe(lambda _: changed.set(), trait)
    for _ in range(1000):
        if holds():
            return
        assert changed.wait(SECONDS), f"{trait} did not change: {getattr(view, trait)!r}"
        changed.clear()
    raise AssertionError(f"{trait} never held: {getattr(view, trait)!r}")
