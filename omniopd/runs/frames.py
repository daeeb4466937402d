"""Records as pandas tables: the tokens of a rollout, its audits, the steps of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
    ).astype({"piece": "str", "entropy": "float64", "logprob": "float64", "anchor_kl": "float64", "anchored": "bool"})


AUDIT_COLUMNS = {
    "rollout": "Int64", "prompt": "string", "entropy": "float64", "chunk": "str", "texts": "int64",
    "different": "int64", "soft_count": "float64", "prior": "float64", "posterior_mean": "float64",
    "served_model": "str", "tokens": "int64", "cost_usd": "float64",
}  # fmt: skip
STEP_COLUMNS = {
    "loss": "float64", "chunk_loss": "float64", "anchor_loss": "float64", "input_tokens": "int64",
    "output_tokens": "int64", "cost_usd": "float64", "failures": "int64",
}  # fmt: skip


def audit_frame(audits: RolloutRecord | Sequence[AuditRecord] | Sequence[RolloutRecord]) -> pandas.DataFrame:
    """One row a fork: rollout (its row in the step), prompt (its id), entropy (nats), chunk, texts, different ones among
    them, soft_count, prior, posterior_mean, served_model, the teacher's tokens and dollars.

    The index is the fork's first token, `fork`, of one rollout; of several, where that would repeat, a number, and `fork`
    is a column. Audits without their rollout have neither `rollout` nor `prompt` (NA). The columns and their types are
    the same whatever there is.
    """
    import pandas

    given: tuple[RolloutRecord | AuditRecord, ...] = (audits,) if isinstance(audits, RolloutRecord) else tuple(audits)
    pairs: list[tuple[RolloutRecord | None, AuditRecord]] = []
    for one in given:
        if isinstance(one, RolloutRecord):
            pairs += [(one, a) for a in one.audits]
        else:
            pairs.append((None, one))
    rows = [
        {
            "rollout": None if of is None else of.row,
            "prompt": None if of is None else of.prompt_id,
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
        for of, a in pairs
    ]
    frame = _typed(rows, AUDIT_COLUMNS)
    forks = pandas.Index([a.start for _, a in pairs], name="fork", dtype="int64")
    if len(given) > 1 and not forks.is_unique or any(isinstance(one, RolloutRecord) for one in given[1:]):
        frame.insert(0, "fork", forks)
        frame.index = pandas.RangeIndex(len(frame), name="audit")
    else:
        frame.index = forks
    return frame


def step_frame(steps: Sequence[StepRecord]) -> pandas.DataFrame:
    """One row an optimizer step, indexed by its number: the losses, tokens and dollars, every metric by its name, and
    seconds/… by phase."""
    import pandas

    rows = [
        {name: getattr(s, name) for name in STEP_COLUMNS}
        | {"failures": sum(s.failures.values()), **s.metrics}
        | {f"seconds/{phase}": value for phase, value in s.seconds.items()}
        for s in steps
    ]
    frame = _typed(rows, STEP_COLUMNS)
    frame.index = pandas.Index([s.step for s in steps], name="step", dtype="int64")
    return frame


def _typed(rows: Sequence[dict[str, Any]], columns: Mapping[str, str]) -> pandas.DataFrame:
    """Rows as a table whose first columns are `columns`, of these types, without rows too."""
    import pandas

    return pandas.DataFrame(rows, columns=list(columns) if not rows else None).astype(dict(columns))
