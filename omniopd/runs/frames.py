"""Records as pandas tables: the tokens of a rollout, its audits, the steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omniopd.method.forks import moved_forks
from omniopd.records import AuditRecord, PairedAnswer, RolloutRecord, StepRecord

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


# Name, type, and where the value comes from; a new column is a line here.
AUDIT_COLUMNS: dict[str, tuple[str, Callable[[RolloutRecord | None, AuditRecord], Any]]] = {
    "rollout": ("Int64", lambda of, a: None if of is None else of.row),
    "prompt": ("string", lambda of, a: None if of is None else of.prompt_id),
    "entropy": ("float64", lambda of, a: a.entropy),
    "chunk": ("str", lambda of, a: a.chunk),
    "texts": ("int64", lambda of, a: len(a.texts)),
    "different": ("int64", lambda of, a: len(set(a.texts))),
    "soft_count": ("float64", lambda of, a: a.soft_count),
    "prior": ("float64", lambda of, a: a.prior),
    "posterior_mean": ("float64", lambda of, a: a.posterior_mean),
    "served_model": ("str", lambda of, a: a.served_model),
    "tokens": ("int64", lambda of, a: a.input_tokens + a.output_tokens),
    "cost_usd": ("float64", lambda of, a: a.cost_usd),
    "run": ("bool", lambda of, a: a.run),
}
STEP_COLUMNS: dict[str, tuple[str, Callable[[StepRecord], Any]]] = {
    "loss": ("float64", lambda step: step.loss),
    "chunk_loss": ("float64", lambda step: step.chunk_loss),
    "anchor_loss": ("float64", lambda step: step.anchor_loss),
    "input_tokens": ("int64", lambda step: step.input_tokens),
    "output_tokens": ("int64", lambda step: step.output_tokens),
    "cost_usd": ("float64", lambda step: step.cost_usd),
    "failures": ("int64", lambda step: sum(step.failures.values())),
}


def audit_frame(audits: RolloutRecord | Sequence[AuditRecord] | Sequence[RolloutRecord]) -> pandas.DataFrame:
    """One row a fork: rollout (its row in the step), prompt (its id), entropy (nats), chunk, texts, different ones
    among them, soft_count, prior, posterior_mean, served_model, the teacher's tokens and dollars; `run`: a piece of a
    scan, whose texts differ from the chunk in its last token at most.

    The index is the fork's first token, `fork`, of one rollout; of several, where that would repeat, a number, and
    `fork` is a column. Audits without their rollout have neither `rollout` nor `prompt` (NA). The columns and their
    types are the same whatever there is.
    """
    import pandas

    given: tuple[RolloutRecord | AuditRecord, ...] = (audits,) if isinstance(audits, RolloutRecord) else tuple(audits)
    pairs: list[tuple[RolloutRecord | None, AuditRecord]] = []
    for one in given:
        pairs += [(one, a) for a in one.audits] if isinstance(one, RolloutRecord) else [(None, one)]
    frame = _typed([{name: of(*pair) for name, (_, of) in AUDIT_COLUMNS.items()} for pair in pairs], AUDIT_COLUMNS)
    forks = pandas.Index([a.start for _, a in pairs], name="fork", dtype="int64")
    if (len(given) > 1 and not forks.is_unique) or any(isinstance(one, RolloutRecord) for one in given[1:]):
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
        {name: of(step) for name, (_, of) in STEP_COLUMNS.items()}
        | dict(step.metrics)
        | {f"seconds/{phase}": value for phase, value in step.seconds.items()}
        for step in steps
    ]
    frame = _typed(rows, STEP_COLUMNS)
    frame.index = pandas.Index([step.step for step in steps], name="step", dtype="int64")
    return frame


def pair_frame(pair: Sequence[PairedAnswer]) -> pandas.DataFrame:
    """One row a token of each answer of a pair of students: answer ("left", "right"), token, text; logprob_left,
    logprob_right and moved, the second minus the first; entropy_left, entropy_right (nats; NaN where a student has
    another tokenizer); fork ("kept", "vanished", "appeared" or "", as `method.forks.moved_forks` says).
    """
    import pandas

    rows: list[tuple[Any, ...]] = []
    for side, one in zip(("left", "right"), pair, strict=False):
        nothing = (float("nan"),) * len(one.rollout.pieces)
        left, right = one.left, one.right
        before = (nothing, nothing) if left is None else (left.logprobs, left.entropies)
        after = (nothing, nothing) if right is None else (right.logprobs, right.entropies)
        moved = moved_forks(before[1], after[1])
        kinds = {t: kind for kind in ("kept", "vanished", "appeared") for t in getattr(moved, kind)}
        for t, (text, a, b, h, g) in enumerate(
            zip(one.rollout.pieces, before[0], after[0], before[1], after[1], strict=True)
        ):
            rows.append((side, t, text, a, b, b - a, h, g, kinds.get(t, "")))
    texts, numbers = ("answer", "text", "fork"), _PAIR_COLUMNS[3:8]
    types = {"token": "int64"} | dict.fromkeys(texts, "str") | dict.fromkeys(numbers, "float64")
    return pandas.DataFrame(rows, columns=list(_PAIR_COLUMNS)).astype(types)


_PAIR_COLUMNS = (
    "answer", "token", "text", "logprob_left", "logprob_right", "moved", "entropy_left", "entropy_right", "fork",
)  # fmt: skip


def _typed(rows: Sequence[dict[str, Any]], columns: Mapping[str, tuple[str, Any]]) -> pandas.DataFrame:
    """Rows as a table whose first columns are `columns`, of these types, without rows too."""
    import pandas

    types = {name: kind for name, (kind, _) in columns.items()}
    return pandas.DataFrame(rows, columns=list(columns) if not rows else None).astype(types)
