"""A TRL trainer whose per-token numbers are means over the tokens of a step, whatever its micro-batches.

TRL appends the mean of each micro-batch and logs the mean of those: the same step logs another entropy with another
micro-batch. Here each mean weighs as many tokens as it was taken over.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from torch import Tensor

MEANS = (
    "entropy", "kl", "mean_token_accuracy", "cispo_clip_ratio", "clip_ratio/low_mean", "clip_ratio/high_mean",
    "clip_ratio/region_mean",
)  # fmt: skip
LOWEST, HIGHEST = ("clip_ratio/low_min",), ("clip_ratio/high_max",)


class TokenMeans:
    """Goes before a TRL trainer among a class's bases."""

    model: Any
    accelerator: Any
    _metrics: dict[str, dict[str, list[float]]]
    _tokens: defaultdict[str, list[int]] | None = None

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if self._tokens is None:
            self._tokens = defaultdict(list)
        tokens = int(self.accelerator.gather(_learnt(inputs)).sum())
        found = super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]
        self._tokens[self._mode].append(tokens)
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        metrics, counts = self._metrics[self._mode], self._tokens.pop(self._mode, []) if self._tokens else []
        for name in MEANS:
            if len(metrics.get(name, ())) == len(counts) > 1:
                metrics[name] = [_mean(metrics[name], counts)]
        for name in (*LOWEST, *HIGHEST):
            if values := [value for value in metrics.get(name, ()) if not math.isnan(value)]:
                metrics[name] = [min(values) if name in LOWEST else max(values)]
        super().log(logs, start_time)  # type: ignore[misc]

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"


def _learnt(inputs: dict[str, Any]) -> Tensor:
    """How many tokens a micro-batch speaks of: those of its answers, or those with a label that follows something."""
    mask: Tensor = inputs["completion_mask"] if "completion_mask" in inputs else inputs["labels"][:, 1:] != -100
    return mask.sum()


def _mean(values: list[float], counts: list[int]) -> float:
    pairs = [(value, count) for value, count in zip(values, counts, strict=True) if not math.isnan(value)]
    total = sum(count for _, count in pairs)
    return sum(value * count for value, count in pairs) / total if total else math.nan
