"""What a run tells, as small line charts: which curves, from which names, thinned to a small message.

Knows records and numbers; knows no view and no file.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from omniopd.records import EvalRecord, StepRecord
from omniopd_widgets._parts.safe import JsonObject, shorten, to_json

POINTS = 500  # of one curve at most: more than a small chart has pixels
BUDGET = 120_000  # bytes of all curves together
REASONS = 6  # failures drawn by their reason; the others together

# title, unit, {label: name in StepRecord.metrics}
_METRICS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Targets", "weight", {
        "mean": "targets/mean", "spread between forks": "targets/between_std", "within a chunk": "targets/within_std",
    }),
    ("Agreement with the teacher", "share", {
        "teacher agrees": "scan/acceptance", "soft count ÷ N": "soft_count/share_mean",
        "negative targets": "targets/negative_share", "tokens audited": "audited/token_share",
    }),
    ("Texts of the teacher", "texts", {"texts an answer": "scan/texts_per_answer"}),
    ("The teacher beside the student", "seconds", {
        "hidden": "teacher/seconds_hidden", "waited for": "teacher/seconds_waited",
    }),
    ("Entropy of the student", "nats", {
        "at forks": "entropy/forks", "where texts begin": "entropy/forks", "elsewhere": "entropy/elsewhere",
    }),
    ("KL to the reference", "nats a token", {"audited": "kl/audited", "held near the start": "kl/anchored"}),
    ("Length of an answer", "tokens", {"mean": "length/mean"}),
    ("Answers cut off", "share", {"cut off": "length/cut_off_share"}),
)  # fmt: skip
_OF_CHUNKS, _OF_SCANS = ("soft count ÷ N", "at forks"), ("where texts begin",)


@dataclass(frozen=True, slots=True)
class Curve:
    """`slot` is its colour and its dashes where several panels share them, else its place in the panel."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves over one axis; x is "step" where panels are read together."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    x: str = "step"


def panels(steps: Sequence[StepRecord], evals: Sequence[EvalRecord]) -> list[Panel]:
    """Everything that is watched, in reading order; a curve without a number is left out, and so is its panel."""
    xs = [float(record.step) for record in steps]
    spent = list(accumulate(record.cost_usd for record in steps))

    def over(title: str, unit: str, values: Mapping[str, Iterable[float]]) -> Panel:
        return Panel(title, unit, tuple(Curve(name, xs, list(ys)) for name, ys in values.items()))

    found = [
        over("Loss", "nats", {
            "total": (r.loss for r in steps), "chunks": (r.chunk_loss for r in steps),
            "anchor": (r.anchor_loss for r in steps),
        }),
        *(over(title, unit, {label: [_metric(r, label, name) for r in steps] for label, name in names.items()})
          for title, unit, names in _METRICS),
        by_temperature(evals),
        over_training(evals),
        over("Forks without an answer", "forks", _failures(steps)),
        over("Teacher's tokens so far", "tokens", {
            "read": accumulate(r.input_tokens for r in steps),
            "written": accumulate(r.output_tokens for r in steps),
        }),
        over("Spent so far", "dollars", {"all": spent} if spent and spent[-1] else {}),
        over("Time of a step", "seconds", _seconds(steps)),
    ]  # fmt: skip
    return [kept for panel in found if (kept := with_numbers(panel)) is not None]


def by_temperature(evals: Sequence[EvalRecord]) -> Panel:
    """Accuracy against temperature: the untrained student, the two newest evaluated steps, whom they are compared with.

    A student that is only sharper gains at temperature 1 and loses nothing to win at its best temperature.
    """
    at: dict[tuple[str, int], dict[float, EvalRecord]] = {}
    for record in evals:
        at.setdefault((record.model, record.step), {})[record.temperature] = record
    trained = sorted({step for who, step in at if who == "student" and step > 0 and len(at[who, step]) > 1})
    wanted = [("student", 0), *(("student", step) for step in trained[-2:])]
    wanted += [key for key in at if key[0] != "student"]
    curves = []
    for key in wanted:
        if records := at.get(key):
            temperatures = sorted(records)
            who, step = key
            name = who if who != "student" else f"step {step}" if step else "untrained"
            curves.append(Curve(name, temperatures, [100 * records[t].accuracy for t in temperatures]))
    return Panel("Right answers by temperature", "percent", tuple(curves), x="temperature")


def over_training(evals: Sequence[EvalRecord]) -> Panel:
    """The student's accuracy as training goes on, one curve a temperature that was measured more than once."""
    at: dict[float, dict[int, float]] = {}
    for record in evals:
        if record.model == "student" and record.problems:
            at.setdefault(record.temperature, {})[record.step] = 100 * record.accuracy
    curves = [
        Curve(f"temperature {t:g}", sorted(found), [found[s] for s in sorted(found)])
        for t, found in sorted(at.items(), reverse=True)
        if len(found) > 1
    ]
    return Panel("Right answers in training", "percent", tuple(curves[:6]))


def failures(steps: Sequence[StepRecord]) -> list[JsonObject]:
    """Forks that got no answer, by reason, most first: how many, and at which step the last one."""
    counts: Counter[str] = Counter()
    last: dict[str, int] = {}
    for record in steps:
        for reason, count in record.failures.items():
            counts[reason] += count
            last[reason] = record.step
    return [
        to_json({"reason": shorten(reason, 300), "count": count, "last": last[reason]})
        for reason, count in counts.most_common(50)
    ]


def with_numbers(panel: Panel) -> Panel | None:
    """The panel with the curves that have a number, None where none has."""
    curves = tuple(curve for curve in panel.curves if any(math.isfinite(y) for y in curve.ys))
    return Panel(panel.title, panel.unit, curves, panel.x) if curves else None


def packed(charts: Sequence[Panel]) -> tuple[list[JsonObject], bytes]:
    """The panels without their numbers, and all numbers as float32: of each curve its x values, then its y values."""
    limit = max(8, min(POINTS, BUDGET // (8 * max(1, sum(len(panel.curves) for panel in charts)))))
    described: list[JsonObject] = []
    numbers = array("f")
    for panel in charts:
        series = []
        for place, curve in enumerate(panel.curves):
            xs, ys = thinned(curve.xs, curve.ys, limit)
            slot = place if curve.slot is None else curve.slot
            series.append({"name": shorten(curve.name, 80), "slot": slot, "start": len(numbers), "count": len(xs)})
            numbers.extend(xs)
            numbers.extend(ys)
        described.append(to_json({"title": panel.title, "unit": panel.unit, "x": panel.x, "series": series}))
    if sys.byteorder == "big":
        numbers.byteswap()
    return described, numbers.tobytes()


def thinned(xs: Sequence[float], ys: Sequence[float], limit: int) -> tuple[list[float], list[float]]:
    """At most `limit` of the finite points: the first, the last, and the lowest and highest of each stretch."""
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y) and abs(y) < 3e38]
    if len(points) > limit:
        stretches = max(1, (limit - 2) // 2)
        inner, kept = points[1:-1], [points[0]]
        for number in range(stretches):
            part = inner[len(inner) * number // stretches : len(inner) * (number + 1) // stretches]
            if part:
                ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
                kept += sorted(ends)
        points = [*kept, points[-1]]
    return [x for x, _ in points], [y for _, y in points]


def _metric(step: StepRecord, label: str, name: str) -> float:
    """A scan has no forks, and its soft count is of the tokens at which its texts end: it says nothing of the rest."""
    odd = _OF_CHUNKS if "scan/acceptance" in step.metrics else _OF_SCANS
    return math.nan if label in odd else step.metrics.get(name, math.nan)


def _failures(steps: Sequence[StepRecord]) -> dict[str, list[float]]:
    reasons = Counter[str]()
    for record in steps:
        reasons.update(record.failures)
    shown = [reason for reason, _ in reasons.most_common(REASONS)]
    found = {reason: [float(record.failures.get(reason, 0)) for record in steps] for reason in shown}
    if len(reasons) > REASONS:
        found["other reasons"] = [float(sum(n for r, n in s.failures.items() if r not in shown)) for s in steps]
    return found


def _seconds(steps: Sequence[StepRecord]) -> dict[str, list[float]]:
    """By phase; the whole step beside them where it was measured."""
    phases = list(dict.fromkeys(phase for record in steps for phase in record.seconds))
    whole = [record.metrics.get("step_time", math.nan) for record in steps]
    return {"all": whole} | {phase: [record.seconds.get(phase, 0.0) for record in steps] for phase in phases}
