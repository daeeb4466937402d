"""Several runs beside each other: their curves, what their recipes differ in, their accuracies paired by problem.

Every difference comes with its interval and in a sentence, which says so where nothing has been shown. Knows records
and manifests; knows no view.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from omniopd.config import dotted
from omniopd.errors import DataError, RunError
from omniopd.records import EvalRecord, StepRecord
from omniopd.runs.store import Run
from omniopd_widgets._parts.curves import Curve, Panel, measured, with_numbers
from omniopd_widgets._parts.safe import JsonObject, shorten, to_json

MOST = 6  # runs at once: more lines in a chart cannot be told apart
_ABSENT = "–"

_MEASURES: tuple[tuple[str, str, Callable[[StepRecord], float]], ...] = (
    ("Loss", "nats", lambda r: r.loss),
    ("Entropy at forks", "nats", lambda r: r.metrics.get("entropy/forks", math.nan)),
    ("Entropy elsewhere", "nats", lambda r: r.metrics.get("entropy/elsewhere", math.nan)),
    ("Agreement with the teacher", "share", lambda r: r.metrics.get("soft_count/share_mean", math.nan)),
    ("KL of audited tokens", "nats a token", lambda r: r.metrics.get("kl/audited", math.nan)),
    ("KL of tokens held near the start", "nats a token", lambda r: r.metrics.get("kl/anchored", math.nan)),
    ("Length of an answer", "tokens", lambda r: r.metrics.get("length/mean", math.nan)),
    ("Time of a step", "seconds", lambda r: r.metrics.get("step_time", math.nan)),
)


def panels(
    names: Sequence[str], steps: Sequence[Sequence[StepRecord]], evals: Sequence[Sequence[EvalRecord]]
) -> list[Panel]:
    """One panel a measure, one curve a run, each run in the same colour everywhere."""
    made = [
        Panel(title, unit, tuple(
            Curve(name, [float(r.step) for r in records], [measure(r) for r in records], slot)
            for slot, (name, records) in enumerate(zip(names, steps, strict=True))
        ))
        for title, unit, measure in _MEASURES
    ]  # fmt: skip
    after = [trained(records) for records in evals]
    made.append(
        Panel("Right answers after training, by temperature", "percent", tuple(
            measured(name, [r.temperature for r in found], found, slot)
            for slot, (name, (_, found)) in enumerate(zip(names, after, strict=True))
        ), x="temperature")
    )  # fmt: skip
    return [kept for panel in made if (kept := with_numbers(panel)) is not None]


def differences(runs: Sequence[Run]) -> list[JsonObject]:
    """Settings in which the recipes differ, then seeds, versions and commits; values as JSON, in the order of runs."""
    flat = [_run_settings(run) for run in runs]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    found = [(key, [settings.get(key, _ABSENT) for settings in flat]) for key in keys]
    return [
        to_json({"key": shorten(key, 120), "values": [shorten(value, 160) for value in values]})
        for key, values in found
        if len(set(values)) > 1
    ]


def accuracies(names: Sequence[str], evals: Sequence[Sequence[EvalRecord]]) -> list[JsonObject]:
    """Each run against the first: its accuracy and the other's at the best temperature and at every common one, with
    the difference of the same problems, its interval and the verdict in words."""
    from omniopd.evaluation.compare import best_temperature

    measured = [trained(records) for records in evals]
    base_when, base = measured[0]
    made = []
    for name, (when, ours) in zip(names[1:], measured[1:], strict=True):
        row: dict[str, object] = {"run": name, "against": names[0], "rows": [], "problem": ""}
        if not ours or not base:
            missing = name if not ours else names[0]
            row["problem"] = f"{missing} has not been evaluated, so the accuracies cannot be compared."
        else:
            at = {record.temperature: record for record in base}
            pairs = [("best temperature", best_temperature(ours), best_temperature(base))]
            pairs += [
                ("greedy" if r.temperature == 0 else f"temperature {r.temperature:g}", r, at[r.temperature])
                for r in ours
                if r.temperature in at
            ]
            row["when"] = f"{when} against {base_when}"
            row["rows"] = [{"at": at_what, **_paired(ours_, theirs)} for at_what, ours_, theirs in pairs]
        made.append(to_json(row))
    return made


def trained(evals: Sequence[EvalRecord]) -> tuple[str, list[EvalRecord]]:
    """The student after its last evaluated step, or untrained: "step 40" and one evaluation a temperature."""
    from omniopd.evaluation.tables import AFTER, BEFORE, report_rows

    rows = report_rows([record for record in evals if record.problems])
    found = rows.get(AFTER) or rows.get(BEFORE) or []
    step = found[0].step if found else 0
    return (f"step {step}" if step else "untrained"), list(found)


def read(run: Run) -> tuple[list[StepRecord], list[EvalRecord], str]:
    """Steps and evaluations (on its test split) of a run as far as they can be read, and what could not be."""
    problems = []
    found: list[list[Any]] = []
    for records in (run.steps, run.evals):
        try:
            found.append(records())
        except RunError as error:
            found.append([])
            problems.append(str(error))
    evals = [record for record in found[1] if run.test_split in ("", record.split)]
    return found[0], evals, "; ".join(problems)


def _paired(ours: EvalRecord, theirs: EvalRecord) -> dict[str, object]:
    from omniopd.evaluation.compare import accuracy_interval, paired_difference, verdict

    both = ours.per_problem.keys() & theirs.per_problem.keys()
    said = ""
    if both and len(both) < max(len(ours.problems), len(theirs.problems)):
        said = f", on the {len(both)} problems that both answered"
        ours, theirs = _only(ours, both), _only(theirs, both)
    cells: dict[str, object] = {"ours": f"{100 * ours.accuracy:.1f}", "theirs": f"{100 * theirs.accuracy:.1f}"}
    try:
        cells |= {"ours": str(accuracy_interval(ours)), "theirs": str(accuracy_interval(theirs))}
        difference = paired_difference(ours, theirs)
    except DataError as error:
        return cells | {"said": f"not compared, because {error}", "low": None, "high": None, "mean": None}
    numbers = {"mean": difference.mean, "low": difference.low, "high": difference.high}
    return cells | {"said": verdict(difference) + said} | {name: 100 * value for name, value in numbers.items()}


def _only(record: EvalRecord, problems: Set[str]) -> EvalRecord:
    return replace(record, problems=tuple(p for p in record.problems if p.prompt_id in problems))


def _run_settings(run: Run) -> dict[str, str]:
    manifest = run.manifest
    recipe, versions = ({} if not isinstance(v, Mapping) else v for v in (manifest.recipe, manifest.versions))
    flat = {key: json.dumps(value, ensure_ascii=False, default=str) for key, value in dotted(recipe).items()}
    flat.pop("name", None)
    flat |= {f"version of {package}": str(version) for package, version in versions.items()}
    return flat | {"commit": str(manifest.commit or _ABSENT)}
