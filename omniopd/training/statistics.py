"""What a step tells of itself: numbers over the audits of the global batch, and sums over its micro-batches.

The names here are those of the log, of `StepRecord.metrics` and of the monitor.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from omniopd.method.evidence import ForkTarget
from omniopd.types import AuditedRollout, Usage


def audit_statistics(audited: Sequence[AuditedRollout], targets: Sequence[ForkTarget]) -> dict[str, float]:
    """Spread of targets, soft counts and similarities; what share of the tokens is audited; entropies; lengths.

    NaN where a statistic has nothing to speak of (no fork was audited, one sample has no spread).
    """
    audits = [a for item in audited for a in item.audits]
    lengths = [len(item.rollout) for item in audited]
    inside = [sum(a.fork.stop - a.fork.start for a in item.audits) for item in audited]
    fork_entropies = torch.tensor([a.fork.entropy for a in audits])
    all_entropies = torch.cat([item.rollout.entropies for item in audited]) if audited else torch.zeros(0)
    at_forks = float(fork_entropies.sum())
    shares = torch.tensor([a.soft_count / a.samples for a in audits])
    weights = torch.cat([t.weights for t in targets]) if targets else torch.zeros(0)
    per_fork = torch.stack([t.weights.mean() for t in targets]) if targets else torch.zeros(0)
    return {
        "targets/mean": _mean(weights),
        "targets/std": _std(weights),
        "targets/within_std": _mean(torch.tensor([_std(t.weights) for t in targets])),
        "targets/between_std": _std(per_fork),
        "targets/negative_share": _mean((weights < 0).float()),
        "targets/label_positions": float(sum(bool(slots) for t in targets for slots in t.labels)),
        "soft_count/mean": _mean(torch.tensor([a.soft_count for a in audits])),
        "soft_count/share_mean": _mean(shares),
        "soft_count/share_std": _std(shares),
        "similarity/within_std": _mean(torch.tensor([_std(a.similarities) for a in audits])),
        "similarity/between_std": _std(torch.tensor([float(a.similarities.mean()) for a in audits])),
        "texts/different": _mean(torch.tensor([float(len(set(a.texts))) for a in audits])),
        "texts/usable_as_tokens": _mean(
            torch.tensor([sum(bool(ids) for ids in a.continuation_ids) / a.samples for a in audits])
        ),
        "audited/token_share": sum(inside) / max(1, sum(lengths)),
        "audited/answer_share": _mean(torch.tensor([i / max(1, n) for i, n in zip(inside, lengths, strict=True)])),
        "forks/per_rollout": len(audits) / max(1, len(audited)),
        **_scan_statistics(audited),
        "forks/unanswered": float(sum(len(item.unanswered) for item in audited)),
        "forks/reencoded_share": _mean(torch.tensor([float(a.reencodes) for a in audits])),
        "teacher/exact_share": _mean(torch.tensor([float(a.continuations.exact) for a in audits])),
        "teacher/echoes": float(sum(a.continuations.echoes for a in audits)),
        "entropy/forks": _mean(fork_entropies),
        "entropy/elsewhere": (float(all_entropies.sum()) - at_forks) / max(1, len(all_entropies) - len(audits)),
        "length/mean": sum(lengths) / max(1, len(lengths)),
        "length/cut_off_share": sum(item.rollout.finish == "length" for item in audited) / max(1, len(audited)),
    }


def _scan_statistics(audited: Sequence[AuditedRollout]) -> dict[str, float]:
    """Of a scan: the share of the teacher's tokens that are the student's own (an estimate of Σ_v π_T(v) π_θ(v) at the
    student's states), the texts that an answer took, and the share of tokens with a label; nothing of other audits."""
    runs = [a for item in audited for a in item.audits if a.run]
    if not runs:
        return {}
    equal = [
        token == said
        for a in runs
        for tokens in a.continuation_ids
        for token, said in zip(a.chunk_ids, tokens or (), strict=True)
    ]
    tokens = sum(len(item.rollout) for item in audited)
    return {
        "scan/acceptance": sum(equal) / max(1, len(equal)),
        "scan/texts_per_answer": sum(_texts(item) for item in audited) / len(audited),
        "scan/labelled_share": sum(len(a.chunk_ids) for a in runs) / max(1, tokens),
    }


def _texts(item: AuditedRollout) -> int:
    """How many texts a scan took, also of a cache; one that could not be used is a text."""
    return sum(a.begun for a in item.audits) + len(item.unanswered)


def spend(audited: Sequence[AuditedRollout]) -> Usage:
    """What the teacher took for these audits, failed ones included."""
    total = Usage()
    for item in audited:
        for a in item.audits:
            total += a.continuations.usage
        for u in item.unanswered:
            total += u.usage
    return total


def failures(audited: Sequence[AuditedRollout]) -> dict[str, int]:
    """Unanswered forks by reason."""
    return dict(Counter(u.problem for item in audited for u in item.unanswered))


@dataclass
class LossSums:
    """Sums over the micro-batches (and ranks) of one optimizer step."""

    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    least: dict[str, float] = field(default_factory=dict)

    def add(self, **values: float | Tensor) -> None:
        for name, value in values.items():
            self.sums[name] += float(value.detach() if isinstance(value, Tensor) else value)

    def lowest(self, name: str, values: Tensor) -> None:
        if values.numel():
            self.least[name] = min(self.least.get(name, math.inf), float(values.min()))

    @classmethod
    def joined(cls, parts: Iterable[LossSums]) -> LossSums:
        whole = cls()
        for part in parts:
            for name, value in part.sums.items():
                whole.sums[name] += value
            for name, value in part.least.items():
                whole.least[name] = min(whole.least.get(name, math.inf), value)
        return whole

    def metrics(self, processes: int = 1) -> Mapping[str, float]:
        """Per-step values: loss parts as means over `processes`, as gradients are; divergences over their tokens."""
        s = self.sums
        return {
            "loss/chunk": s["chunk"] / processes,
            "loss/anchor": s["anchor"] / processes,
            "loss/total": (s["chunk"] + s["anchor"]) / processes,
            "loss/chunk_per_token": s["chunk_unscaled"] / max(1.0, s["audited"]),
            "kl/audited": s["kl_audited"] / s["audited"] if s["audited"] else math.nan,
            "kl/anchored": s["kl_anchored"] / s["anchored"] if s["anchored"] else math.nan,
            "logprob/audited_min": self.least.get("logprob", math.nan),
        }


def _mean(values: Tensor) -> float:
    return float(values.float().mean()) if values.numel() else math.nan


def _std(values: Tensor) -> float:
    return float(values.float().std(unbiased=True)) if values.numel() > 1 else math.nan
