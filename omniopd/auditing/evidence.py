"""What audits found, as the numbers that targets are made of; and how alike two texts are, by its name."""

from __future__ import annotations

from collections.abc import Sequence

from omniopd.method.evidence import ForkEvidence, ForkTarget
from omniopd.method.scan import joined, tokens_of_run
from omniopd.method.similarity import SIMILARITIES
from omniopd.method.tensors import in_tensors, powered
from omniopd.types import AuditedRollout, Similarity


def evidence(audited: Sequence[AuditedRollout]) -> list[ForkEvidence]:
    """The numbers that targets are made of, in the order of rollouts and forks: one for a chunk, one for every token of
    a run (`method.scan.joined` makes one target of the targets of a run)."""
    found = []
    for row, item in enumerate(audited):
        for a in item.audits:
            if a.run:
                priors = item.rollout.logprobs[a.fork.start : a.fork.stop].exp().tolist()
                found += tokens_of_run(row, a.chunk_ids, a.continuation_ids, priors)
                continue
            found.append(
                ForkEvidence(
                    rollout=row,
                    chunk_ids=a.chunk_ids,
                    soft_count=a.soft_count,
                    samples=a.samples,
                    prior=a.prior,
                    continuation_ids=a.continuation_ids,
                    redraw_share=a.redraw_similarity,
                )
            )
    return found


def made_of(audited: Sequence[AuditedRollout], targets: Sequence[ForkTarget]) -> list[ForkTarget]:
    """Targets of the `evidence` as one for each audit."""
    return joined(targets, [len(a.chunk_ids) if a.run else 1 for item in audited for a in item.audits])


def similarity_named(name: str, power: float = 1.0, embedding_model: str = "embedded:embedding") -> Similarity:
    """The similarity of a setting: one of `method.similarity`, or the embedding cosine, to a power."""
    if (compare := SIMILARITIES[name].compare) is not None:
        return powered(in_tensors(compare), power)
    from omniopd.models.embedding import embedding_similarity

    return powered(embedding_similarity(embedding_model), power)
