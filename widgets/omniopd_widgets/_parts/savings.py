"""Where all texts agree, or none; what fewer samples or forks would have saved: from records alone, with their cost.

An audit whose texts all agree with the student, or none of them, needed fewer texts to say so. Whether it taught is the
target's affair: a weight near its extreme does move the student, and labels teach most where nobody agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omniopd.method.posterior import subsample_spread
from omniopd.records import AuditRecord, RolloutRecord
from omniopd_widgets._parts.prices import TokenPrice, priced, usage_of

# Texts that have nothing to do with each other share about a fifth of their characters (LOG.md, the paper's φ).
AGREE_FROM, NONE_BELOW = 0.99, 0.25
TOLERANCE, KEEP = 0.05, 0.9


@dataclass(frozen=True, slots=True)
class Saving:
    """A smaller setting: how much less the teacher would have read and written, and what is lost by it, in words."""

    setting: str
    now: int
    smaller: int
    price: TokenPrice
    loses: str


def audit_kind(audit: AuditRecord) -> str:
    """`agree`: all texts continue as the student did; `none`: no text does, even nearly; else `informs`, as does every
    run of a scan from which a text parts."""
    if min(audit.similarities) >= AGREE_FROM:
        return "agree"
    if audit.run:
        return "informs"
    return "none" if max(audit.similarities) <= NONE_BELOW else "informs"


def savings(rollouts: Sequence[RolloutRecord]) -> list[Saving]:
    """The smaller N and the smaller M that lose little, as far as these audits tell; none of a scan, which asks only as
    often as the two part."""
    if any(a.run for r in rollouts for a in r.audits):
        return []
    return [found for found in (smaller_samples(rollouts), smaller_forks(rollouts)) if found is not None]


def smaller_samples(rollouts: Sequence[RolloutRecord]) -> Saving | None:
    """The least N at which k/N, over all sub-samples of that size, stays within TOLERANCE on average (one deviation).

    Only written tokens are counted as saved: whether a prefix is read once or N times is the provider's affair.
    """
    audits = [a for r in rollouts for a in r.audits if a.similarities]
    if not audits:
        return None
    now = max(len(a.similarities) for a in audits)
    for n in range(1, now):
        spreads = [subsample_spread(a.similarities, min(n, len(a.similarities)), 0.0, 0.0).deviation for a in audits]
        mean = sum(spreads) / len(spreads)
        if mean <= TOLERANCE:
            usage = usage_of(audits)
            loses = f"the agreement would differ by ±{mean:.3f} on average"
            return Saving("samples", now, n, priced(usage, 0.0, usage.output_tokens * (1 - n / now)), loses)
    return None


def smaller_forks(rollouts: Sequence[RolloutRecord]) -> Saving | None:
    """The least M that keeps KEEP of the forks that inform, where forks are chosen by entropy.

    The greedy choice of M' forks is the beginning of the choice of M, so the forks of lowest entropy are dropped.
    """
    ranked = [sorted(r.audits, key=lambda a: -a.entropy) for r in rollouts if r.audits]
    audits = [a for row in ranked for a in row]
    now = max((len(row) for row in ranked), default=0)
    informing = sum(audit_kind(a) == "informs" for a in audits)
    for m in range(1, now):
        kept = sum(audit_kind(a) == "informs" for row in ranked for a in row[:m])
        if kept >= KEEP * informing:
            dropped = [a for row in ranked for a in row[m:]]
            usage = usage_of(audits)
            share = len(dropped) / len(audits)
            counted = any(a.output_tokens for a in audits)
            read = sum(a.input_tokens for a in dropped) if counted else usage.input_tokens * share
            written = sum(a.output_tokens for a in dropped) if counted else usage.output_tokens * share
            loses = f"{informing - kept} of {informing} forks that inform would not be asked about"
            return Saving("forks", now, m, priced(usage, read, written), loses)
    return None
