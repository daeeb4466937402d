"""The figures of one run, from its records. A new one is a function here and its line in `PLOTS`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from omniopd.evaluation.tables import report_rows
from omniopd.figures import Figure, lines
from omniopd.records import EvalRecord, StepRecord


def loss(steps: Sequence[StepRecord], evals: Sequence[EvalRecord]) -> Figure:
    return _over_steps("Loss", "loss", steps, {
        "loss": lambda step: step.loss, "chunk": lambda step: step.chunk_loss, "anchor": lambda step: step.anchor_loss,
    })  # fmt: skip


def entropy(steps: Sequence[StepRecord], evals: Sequence[EvalRecord]) -> Figure:
    scanned = any("scan/acceptance" in step.metrics for step in steps)
    return _over_steps("Entropy of the student", "nats", steps, {
        "where texts begin" if scanned else "at forks": lambda step: step.metrics.get("entropy/forks", math.nan),
        "elsewhere": lambda step: step.metrics.get("entropy/elsewhere", math.nan),
    })  # fmt: skip


def agreement(steps: Sequence[StepRecord], evals: Sequence[EvalRecord]) -> Figure:
    return _over_steps("Agreement with the teacher", "share of its tokens", steps, {
        "teacher agrees": lambda step: step.metrics.get("scan/acceptance", math.nan),
    })  # fmt: skip


def texts(steps: Sequence[StepRecord], evals: Sequence[EvalRecord]) -> Figure:
    return _over_steps("Texts of the teacher", "texts an answer", steps, {
        "texts an answer": lambda step: step.metrics.get("scan/texts_per_answer", math.nan),
    })  # fmt: skip


def accuracy(steps: Sequence[StepRecord], evals: Sequence[EvalRecord]) -> Figure:
    series = {
        who: ([record.temperature for record in records], [100 * record.accuracy for record in records])
        for who, records in report_rows(evals).items()
    }
    return lines("Right answers", series, "temperature", "percent")


PLOTS: dict[str, Callable[[Sequence[StepRecord], Sequence[EvalRecord]], Figure]] = {
    "loss": loss, "entropy": entropy, "accuracy": accuracy, "agreement": agreement, "texts": texts,
}  # fmt: skip


def _over_steps(
    title: str, unit: str, steps: Sequence[StepRecord], values: Mapping[str, Callable[[StepRecord], float]]
) -> Figure:
    xs = [record.step for record in steps]
    return lines(title, {name: (xs, [of(record) for record in steps]) for name, of in values.items()}, "step", unit)
