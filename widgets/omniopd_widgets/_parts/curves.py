"""What a run tells, as small line charts: which curves, from which names, thinned to a small message.

Knows records and numbers; knows no view and no file.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
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
        "teacher agrees": "scan/acceptance", "agreement": "soft_count/share_mean",
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
_OF_CHUNKS, _OF_SCANS = ("agreement", "at forks"), ("where texts begin",)


@dataclass(frozen=True, slots=True)
class Curve:
    """`slot` is its colour and its dashes where several panels share them, else its place in the panel; `band` holds
    the lower and the upper ends of the values' 95 % intervals."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    slot: int | None = None
    band: tuple[Sequence[float], Sequence[float]] | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves over one axis; x is "step" where panels are read together. `is_sum`: a mean of steps would say less than
    was spent."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    x: str = "step"
    is_sum: bool = False


def panels(steps: Sequence[StepRecord], evals: Sequence[EvalRecord]) -> list[Panel]:
    """Everything that is watched, in reading order; a curve without a number is left out, and so is its panel."""
    xs = [float(record.step) for record in steps]
    spent = list(accumulate(record.cost_usd for record in steps))

    def over(title: str, unit: str, values: Mapping[str, Iterable[float]], is_sum: bool = False) -> Panel:
        return Panel(title, unit, tuple(Curve(name, xs, list(ys)) for name, ys in values.items()), is_sum=is_sum)

    found = [
        over_training(evals),
        by_temperature(evals),
        over("Loss", "nats", {
            "total": (r.loss for r in steps), "chunks": (r.chunk_loss for r in steps),
            "anchor": (r.anchor_loss for r in steps),
        }),
        *(panel for title, unit, names in _METRICS if not _is_unused(panel := over(
            title, unit, {label: [_metric(r, label, name) for r in steps] for label, name in names.items()}
        ))),
        over("Forks without an answer", "forks", _failures(steps)),
        over("Teacher's tokens so far", "tokens", {
            "read": accumulate(r.input_tokens for r in steps),
            "written": accumulate(r.output_tokens for r in steps),
        }, is_sum=True),
        over("Spent so far", "dollars", {"all": spent} if spent and spent[-1] else {}, is_sum=True),
        over("Time of a step", "seconds", _seconds(steps)),
    ]  # fmt: skip
    return [kept for panel in found if (kept := with_numbers(panel)) is not None]


def _is_unused(panel: Panel) -> bool:
    """Labels have no weights to show."""
    return panel.title == "Targets" and not any(y > 0 or y < 0 for curve in panel.curves for y in curve.ys)


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
            curves.append(measured(name, temperatures, [records[t] for t in temperatures]))
    return Panel("Right answers by temperature", "percent", tuple(curves), x="temperature")


def over_training(evals: Sequence[EvalRecord]) -> Panel:
    """The student's accuracy as training goes on, one curve a temperature that was measured more than once."""
    at: dict[float, dict[int, EvalRecord]] = {}
    for record in evals:
        if record.model == "student" and record.problems:
            at.setdefault(record.temperature, {})[record.step] = record
    curves = [
        measured(f"temperature {t:g}", sorted(found), [found[s] for s in sorted(found)])
        for t, found in sorted(at.items(), reverse=True)
        if len(found) > 1
    ]
    return Panel("Right answers in training", "percent", tuple(curves[:6]))


def measured(name: str, xs: Sequence[float], records: Sequence[EvalRecord], slot: int | None = None) -> Curve:
    """A curve of accuracies in percent, with the intervals that tables of results show."""
    ends = [_interval(record) for record in records]
    band = [low for low, _ in ends], [high for _, high in ends]
    return Curve(name, xs, [100 * record.accuracy for record in records], slot, band)


@lru_cache(maxsize=2_000)  # a bootstrap of each, and a run that goes on is drawn at every step
def _interval(record: EvalRecord) -> tuple[float, float]:
    from omniopd.evaluation.compare import accuracy_interval

    if len(record.problems) < 2:
        return 0.0, 100.0  # one problem shows nothing of the others
    found = accuracy_interval(record)
    return 100 * found.low, 100 * found.high


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
    return replace(panel, curves=curves) if curves else None


def packed(charts: Sequence[Panel], smoothing: int = 1) -> tuple[list[JsonObject], bytes]:
    """The panels without their numbers, and all numbers as float32: of each curve its x values, its y values and the
    ends of their intervals. With `smoothing`, curves along steps are means of so many, each beside its `raw` self."""
    curves = sum(len(panel.curves) for panel in charts) * (1 if smoothing == 1 else 2)
    limit = max(8, min(POINTS, BUDGET // (8 * max(1, curves))))
    described: list[JsonObject] = []
    numbers = array("f")

    def put(*columns: Sequence[float]) -> dict[str, int]:
        places = kept(*columns, limit=limit)
        start = len(numbers)
        for column in columns:
            numbers.extend(column[place] for place in places)
        return {"start": start, "count": len(places)}

    for panel in charts:
        series = []
        for place, curve in enumerate(panel.curves):
            slot = place if curve.slot is None else curve.slot
            one: dict[str, object] = {"name": shorten(curve.name, 80), "slot": slot}
            if smoothing > 1 and panel.x == "step" and curve.band is None and not panel.is_sum:
                one |= {**put(*smoothed(curve.xs, curve.ys, smoothing)), "raw": put(curve.xs, curve.ys)}
            else:
                one |= {**put(curve.xs, curve.ys, *(curve.band or ())), "band": curve.band is not None}
            series.append(one)
        described.append(to_json({
            "title": panel.title, "unit": panel.unit, "x": panel.x, "smoothing": smoothing, "series": series,
        }))  # fmt: skip
    if sys.byteorder == "big":
        numbers.byteswap()
    return described, numbers.tobytes()


def kept(xs: Sequence[float], ys: Sequence[float], *more: Sequence[float], limit: int) -> list[int]:
    """At most `limit` places whose numbers are finite in all columns: the first, the last, and the lowest and highest
    y of each stretch."""
    columns = (xs, ys, *more)
    places = [i for i in range(len(xs)) if all(math.isfinite(c[i]) and abs(c[i]) < 3e38 for c in columns)]
    if len(places) <= limit:
        return places
    stretches = max(1, (limit - 2) // 2)
    inner, chosen = places[1:-1], [places[0]]
    for number in range(stretches):
        part = inner[len(inner) * number // stretches : len(inner) * (number + 1) // stretches]
        if part:
            chosen += sorted({min(part, key=ys.__getitem__), max(part, key=ys.__getitem__)})
    return [*chosen, places[-1]]


def smoothed(xs: Sequence[float], ys: Sequence[float], width: int) -> tuple[list[float], list[float]]:
    """At each finite point the mean of the `width` points around it, of fewer at the ends."""
    xs, ys = finite(xs, ys)
    sums = [0.0, *accumulate(ys)]
    means = []
    for place in range(len(ys)):
        low, high = max(0, place - (width - 1) // 2), min(len(ys), place + width // 2 + 1)
        means.append((sums[high] - sums[low]) / (high - low))
    return xs, means


def finite(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """The points that are numbers."""
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
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
