"""From what a step computed to what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from omniopd.method.evidence import ForkTarget
from omniopd.models.text.token_text import pieces_after
from omniopd.records import AuditRecord, Posterior, RolloutRecord, StepRecord
from omniopd.types import Audit, AuditedRollout, Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Recorder(Protocol):
    """Who keeps what a run tells, such as `runs.store.Run`. Called on the main process only."""

    def append(self, record: StepRecord) -> object: ...

    def write_rollouts(self, step: int, records: Sequence[RolloutRecord]) -> object: ...


def rollout_records(
    step: int,
    rows: Mapping[int, tuple[AuditedRollout, Sequence[ForkTarget | None]]],
    anchor_kl: Mapping[int, Tensor],
    concentration: float,
    tokenizer: PreTrainedTokenizerBase,
    anchor_on: str = "unaudited",
    probe: bool = False,
    label_nll: Mapping[int, Tensor] | None = None,
) -> list[RolloutRecord]:
    """One record per row of the global batch, ascending. `probe`: nothing is learnt from them, so none is anchored."""
    records = []
    for row, (audited, targets) in sorted(rows.items(), key=lambda item: item[0]):
        rollout, costs = audited.rollout, (label_nll or {}).get(row)
        anchored = torch.full((len(rollout),), not probe)
        for a in audited.audits if anchor_on == "unaudited" else ():
            anchored[a.fork.start : a.fork.stop] = False
        records.append(
            RolloutRecord(
                row=row,
                step=step,
                prompt_id=rollout.prompt.id,
                messages=rollout.prompt.messages,
                pieces=rollout.pieces,
                logprobs=tuple(rollout.logprobs.tolist()),
                entropies=tuple(rollout.entropies.tolist()),
                anchor_kl=tuple(anchor_kl[row][: len(rollout)].tolist()) if row in anchor_kl else (),
                anchored=tuple(anchored.tolist()),
                finish=rollout.finish,
                answer=rollout.prompt.answer,
                audits=tuple(
                    audit_record(rollout, a, target, concentration, tokenizer, costs)
                    for a, target in zip(audited.audits, targets, strict=True)
                ),
                unanswered=tuple((u.fork.start, u.problem) for u in audited.unanswered),
                probe=probe,
            )
        )
    return records


def audit_record(
    rollout: Rollout,
    audit: Audit,
    target: ForkTarget | None,
    concentration: float,
    tokenizer: PreTrainedTokenizerBase | None = None,
    label_nll: Tensor | None = None,
) -> AuditRecord:
    """One audit with its posterior and, where a target was made, with weights and labels (as text). `label_nll` is what
    the labels cost at each token of the rollout."""
    start, stop = audit.fork.start, audit.fork.stop
    before: list[int] = rollout.token_ids[:start].tolist()
    labels: tuple[tuple[tuple[str, float], ...], ...] = ()
    if target is not None and tokenizer is not None:
        labels = tuple(
            tuple((_shown(tokenizer, before, token), weight) for token, weight in slots.items())
            for slots in target.labels
        )
    text_pieces: tuple[tuple[str, ...], ...] = ()
    if tokenizer is not None:
        found = audit.continuation_ids
        text_pieces = tuple(() if ids is None else pieces_after(tokenizer, before, ids) for ids in found)
    answer = audit.continuations
    return AuditRecord(
        start=start,
        stop=stop,
        entropy=audit.fork.entropy,
        chunk=audit.chunk,
        texts=audit.texts,
        similarities=tuple(audit.similarities.tolist()),
        soft_count=audit.soft_count,
        prior=audit.prior,
        posterior_mean=Posterior.of(audit.soft_count, audit.samples, audit.prior, concentration).mean,
        concentration=concentration,
        weights=() if target is None else tuple(target.weights.tolist()),
        labels=labels,
        handover=answer.handover,
        exact=answer.exact,
        served_model=answer.served_model,
        cached=answer.cached,
        input_tokens=answer.usage.input_tokens,
        output_tokens=answer.usage.output_tokens,
        cost_usd=answer.usage.cost_usd,
        problem=answer.problem,
        text_pieces=text_pieces,
        echoes=answer.echoes,
        reencodes=audit.reencodes,
        run=audit.run,
        label_nll=() if label_nll is None else tuple(label_nll[start : start + len(labels)].tolist()),
    )


def _shown(tokenizer: PreTrainedTokenizerBase, before: Sequence[int], token: int) -> str:
    """A label as text, as it follows the prefix; a special token by its name."""
    return pieces_after(tokenizer, before, [token])[0] or str(tokenizer.decode([token]))
