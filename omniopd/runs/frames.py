"""Records as pandas tables: the tokens of a rollout, its audits, the steps of a run. Reads; draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from omniopd.records import AuditRecord, RolloutRecord, StepRecord

if TYPE_CHECKING:
    import pandas


def token_frame(rollout: RolloutRecord) -> pandas.DataFrame:
    """One row a response token, indexed by its position: piece, entropy, logprob, anchor_kl (nats), anchored, chunk.

    `chunk` is the number of the audited chunk that holds the token (from 0), NA outside; `weight` that of its target.
    """
    import pandas

    time = len(rollout.pieces)
    chunk: list[int | None] = [None] * time
    weight = [0.0] * time
    for number, audit in enumerate(rollout.audits):
        for offset, position in enumerate(range(audit.start, audit.stop)):
            chunk[position] = number
            weight[position] = audit.weights[offset] if audit.weights else 0.0
    return pandas.DataFrame(
        {
            "piece": rollout.pieces,
            "entropy": rollout.entropies,
            "logprob": rollout.logprobs,
            "anchor_kl": rollout.anchor_kl or [float("nan")] * time,
            "anchored": rollout.anchored or [True] * time,
            "chunk": pandas.array(chunk, dtype="Int64"),
            "weight": weight,
        },
        index=pandas.RangeIndex(time, name="position"),
    )


def audit_frame(audits: RolloutRecord | Sequence[AuditRecord]) -> pandas.DataFrame:
    """One row a fork, indexed by its first token: entropy, chunk, texts (different ones), soft_count, prior,
    posterior_mean, served_model, teacher's tokens and dollars."""
    import pandas

    records = audits.audits if isinstance(audits, RolloutRecord) else tuple(audits)
    rows = [
        {
            "entropy": a.entropy,
            "chunk": a.chunk,
            "texts": len(a.texts),
            "different": len(set(a.texts)),
            "soft_count": a.soft_count,
            "prior": a.prior,
            "posterior_mean": a.posterior_mean,
            "served_model": a.served_model,
            "tokens": a.input_tokens + a.output_tokens,
            "cost_usd": a.cost_usd,
        }
        for a in records
    ]
    columns = list(rows[0]) if rows else ["entropy", "chunk", "texts", "soft_count", "prior", "posterior_mean"]
    return pandas.DataFrame(rows, columns=columns, index=pandas.Index([a.start for a in records], name="fork"))


def step_frame(steps: Sequence[StepRecord]) -> pandas.DataFrame:
    """One row an optimizer step, indexed by its number: the losses, tokens and dollars, every metric by its name, and
    seconds/… by phase."""
    import pandas

    rows = [
        {
            "loss": s.loss,
            "chunk_loss": s.chunk_loss,
            "anchor_loss": s.anchor_loss,
            "input_tokens": s.input_tokens,
            "output_tokens": s.output_tokens,
            "cost_usd": s.cost_usd,
            "failures": sum(s.failures.values()),
            **s.metrics,
            **{f"seconds/{phase}": value for phase, value in s.seconds.items()},
        }
        for s in steps
    ]
    return pandas.DataFrame(rows, index=pandas.Index([s.step for s in steps], name="step"))
