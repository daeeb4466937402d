"""The evidence and the targets that stand in records: what another target would make of the same audits.

Tokens are known by their pieces of text: two with the same piece count as one, half a character by the one it begins.
The same-fork baseline of redraws stands in no record.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

from omniopd.method.evidence import ForkEvidence, ForkTarget
from omniopd.method.scan import joined, tokens_of_run
from omniopd.method.targets import targets_of_forks
from omniopd.records import AuditRecord, RolloutRecord

END = ("end",)  # the token that ends a turn: its piece is empty, and the last
_LONGEST_CHARACTER = 8  # tokens that one character may be split into


def evidence_of(rollouts: Sequence[RolloutRecord]) -> list[ForkEvidence]:
    """The evidence of all audits, in the order of the records: one for a chunk, one for every token of a run."""
    found = []
    for r in rollouts:
        for a in r.audits:
            chunk, texts = chunk_of(r, a), _continuations(a)
            if a.run:
                priors = [math.exp(logprob) for logprob in r.logprobs[a.start : a.stop]]
                found += tokens_of_run(r.row, chunk, texts, priors)
            else:
                found.append(ForkEvidence(r.row, chunk, sum(a.similarities), len(a.similarities), a.prior, texts))
    return found


def targets_of_records(
    rollouts: Sequence[RolloutRecord], target: str, concentration: float, depth: int
) -> list[ForkTarget]:
    """What a target makes of all audits, one for each."""
    made = targets_of_forks(evidence_of(rollouts), target, "none", concentration, depth)
    return joined(made, [a.stop - a.start if a.run else 1 for r in rollouts for a in r.audits])


def recorded_targets(rollouts: Sequence[RolloutRecord]) -> list[ForkTarget] | None:
    """What the trainer itself made of the audits; None where the records hold no weights (a click, a probe)."""
    import numpy

    audits = [a for r in rollouts for a in r.audits]
    if not all(a.weights for a in audits):
        return None
    return [ForkTarget(numpy.array(a.weights), tuple(map(_added_up, a.labels)), a.label_nll) for a in audits]


def tokens_of(pieces: Sequence[str], after: Sequence[str] = ()) -> tuple[Hashable, ...]:
    """Pieces as tokens. An empty piece is half of a character and known by what completes it, also in the pieces
    `after`; with nothing behind it, it ends the turn."""
    following = (*pieces, *after)
    found: list[Hashable] = []
    for at, piece in enumerate(pieces):
        ahead = next((j for j in range(at + 1, len(following)) if following[j]), None)
        found.append(piece or (END if ahead is None else ("half", following[ahead], ahead - at)))
    return tuple(found)


def chunk_of(rollout: RolloutRecord, audit: AuditRecord) -> tuple[Hashable, ...]:
    """The student's tokens of an audit."""
    after = rollout.pieces[audit.stop : audit.stop + _LONGEST_CHARACTER]
    return tokens_of(rollout.pieces[audit.start : audit.stop], after)


def _continuations(audit: AuditRecord) -> tuple[tuple[Hashable, ...] | None, ...]:
    """Pieces of every text. No pieces mean a text that cannot be written as tokens, unless the text itself is empty."""
    return tuple(
        tokens_of(p) if p or text == "" else None for text, p in zip(audit.texts, audit.text_pieces, strict=False)
    )


def _added_up(slots: Sequence[tuple[str, float]]) -> dict[Hashable, float]:
    """Weights by text: halves of different characters read the same."""
    found: defaultdict[Hashable, float] = defaultdict(float)
    for text, weight in slots:
        found[text] += weight
    return dict(found)
