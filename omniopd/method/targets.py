"""What an audit asks of the student: the paper's weight, the other targets by name, and the controls.

Evidence of all forks of the *global* generation batch goes in at once (a micro-batch would centre on itself); one
`ForkTarget` per fork comes out, detached, computed once per batch from the forward without gradient.

A positive weight on −log π(y_t) raises the student's own token, a negative one lowers it, labels name tokens to raise.
On-policy, a constant weight has no expected gradient where forks do not depend on what follows them (early, random
and causal ones; peak forks do a little, tests/method/test_estimators.py): only differences between weights teach.
Centred targets use k / N and not π̂, because π̄ alone, with no teacher at all, points along the student's own sharpening.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from omniopd.errors import ConfigError
from omniopd.method.posterior import posterior_mean


@dataclass(frozen=True, slots=True)
class ForkEvidence:
    """One audited fork, in numbers. `rollout` indexes the global batch; `prior` is π̄.

    `continuation_ids` are the teacher's texts in student tokens (None: not usable as tokens). `redraw_share` is the
    mean similarity of K redraws by the student from the same fork with the same texts (the same-fork baseline).
    """

    rollout: int
    chunk_ids: tuple[int, ...]
    soft_count: float
    samples: int
    prior: float
    continuation_ids: tuple[tuple[int, ...] | None, ...] = ()
    redraw_share: float | None = None

    @property
    def share(self) -> float:
        return self.soft_count / self.samples


@dataclass(frozen=True, slots=True, eq=False)
class ForkTarget:
    """What a fork does to the loss. `labels[j]` maps token ids to weights at offset j of the chunk (empty: none); under
    `posterior_kl` to counts."""

    weights: Float[Tensor, " chunk"]
    labels: tuple[dict[int, float], ...] = ()


def fork_targets(
    evidence: Sequence[ForkEvidence],
    target: str = "paper",
    control: str = "none",
    concentration: float = 1.0,
    depth: int = 1,
    generator: torch.Generator | None = None,
) -> list[ForkTarget]:
    """The named target of every fork. `generator` draws the permutation of the control `shuffled`.

    Controls: `shuffled` gives each fork the evidence of another one (the teacher's values without their places; a fork
    that is alone keeps its own);
    `constant` puts the batch's mean absolute weight on every audited token; `prior_only` has no samples and knows π̄
    alone. `self_teacher` changes who is asked, not what is computed. Raises ConfigError for an unknown name.
    """
    if target not in _TARGETS or control not in _CONTROLS:
        raise ConfigError(
            f"target {target!r} with control {control!r}: targets are {', '.join(_TARGETS)}, "
            f"controls {', '.join(_CONTROLS)}"
        )
    if not evidence:
        return []
    order = derangement(len(evidence), generator) if control == "shuffled" else range(len(evidence))
    donors = [evidence[i] for i in order]
    made = _TARGETS[target](evidence, donors, control == "prior_only", concentration, depth)
    return _constant(evidence, made, depth) if control == "constant" else made


def derangement(count: int, generator: torch.Generator | None = None) -> Sequence[int]:
    """A permutation that leaves nothing in its place, each of them equally likely; the identity of fewer than two."""
    while True:
        order: list[int] = torch.randperm(count, generator=generator).tolist()
        # Of all permutations 1/e move everything, so that this ends after three draws in the mean.
        if count < 2 or all(place != i for i, place in enumerate(order)):
            return order


def _paper(
    evidence: Sequence[ForkEvidence], donors: Sequence[ForkEvidence], prior_only: bool, concentration: float, depth: int
) -> list[ForkTarget]:
    """π̂ on every token of the chunk (paper.md §2e, h)."""
    trust = posterior_mean(
        torch.tensor([0.0 if prior_only else d.soft_count for d in donors]),
        torch.tensor([0 if prior_only else d.samples for d in donors]),
        torch.tensor([e.prior for e in evidence]),
        concentration if concentration > 0 or not prior_only else 1.0,
    )
    return [ForkTarget(t.expand(len(e.chunk_ids)).clone()) for e, t in zip(evidence, trust, strict=True)]


def _centred(
    evidence: Sequence[ForkEvidence], donors: Sequence[ForkEvidence], prior_only: bool, concentration: float, depth: int
) -> list[ForkTarget]:
    """k / N minus a baseline: the student's redraws at the same fork where there are some, else other rollouts' mean.

    Redraws are scored against the teacher's texts: they travel with the donor, and `prior_only` does not see them.
    """
    shares = torch.tensor([[e.prior] if prior_only else [d.share] for e, d in zip(evidence, donors, strict=True)])
    baseline = other_rollouts_mean(shares, [e.rollout for e in evidence])
    redrawn = torch.tensor([[torch.nan if prior_only or d.redraw_share is None else d.redraw_share] for d in donors])
    centred = (shares - torch.where(redrawn.isnan(), baseline, redrawn)).squeeze(1)
    return [ForkTarget(c.expand(len(e.chunk_ids)).clone()) for e, c in zip(evidence, centred, strict=True)]


def _prefix_credit(
    evidence: Sequence[ForkEvidence], donors: Sequence[ForkEvidence], prior_only: bool, concentration: float, depth: int
) -> list[ForkTarget]:
    """Token u gets Σ_{v ≥ u} of the share of texts that agree through v, centred per offset over other rollouts."""
    agreeing = [
        e.prior ** torch.arange(1.0, len(e.chunk_ids) + 1) if prior_only else agreement_through(d)
        for e, d in zip(evidence, donors, strict=True)
    ]
    # A shorter chunk says nothing about the offsets that it lacks; a donor's may be shorter or longer than the own.
    credit = pad_sequence([a.flip(0).cumsum(0).flip(0) for a in agreeing], batch_first=True, padding_value=torch.nan)
    centred = (credit - other_rollouts_mean(credit, [e.rollout for e in evidence])).nan_to_num(0.0)
    centred = nn.functional.pad(centred, (0, max(len(e.chunk_ids) for e in evidence)))
    return [ForkTarget(row[: len(e.chunk_ids)].clone()) for e, row in zip(evidence, centred, strict=True)]


def _labels(
    evidence: Sequence[ForkEvidence], donors: Sequence[ForkEvidence], prior_only: bool, concentration: float, depth: int
) -> list[ForkTarget]:
    """Cross-entropy to the teacher's empirical next-token counts: at the fork, and deeper where texts still agree."""
    targets = []
    for own, donor in zip(evidence, donors, strict=True):
        labels = _own_tokens(own, depth, own.prior) if prior_only else next_token_labels(donor, depth)
        targets.append(ForkTarget(torch.zeros(len(own.chunk_ids)), labels))
    return targets


def _posterior_kl(
    evidence: Sequence[ForkEvidence], donors: Sequence[ForkEvidence], prior_only: bool, concentration: float, depth: int
) -> list[ForkTarget]:
    """The counts themselves: `posterior.posterior_label_weights` makes them KL(π_θ ‖ π̂) with the student's own
    distribution as prior. The prior alone is the student: nothing to learn."""
    return [
        ForkTarget(torch.zeros(len(own.chunk_ids)), () if prior_only else _as_floats(next_token_counts(donor, depth)))
        for own, donor in zip(evidence, donors, strict=True)
    ]


def _none(
    evidence: Sequence[ForkEvidence], donors: Sequence[ForkEvidence], prior_only: bool, concentration: float, depth: int
) -> list[ForkTarget]:
    """Nothing: for runs that learn by the continuation cross-entropy alone."""
    return [ForkTarget(torch.zeros(len(e.chunk_ids))) for e in evidence]


def other_rollouts_mean(scores: Float[Tensor, "fork offset"], rollout: Sequence[int]) -> Float[Tensor, "fork offset"]:
    """For each fork the mean score of the forks of *other* rollouts; 0 where there is no other rollout.

    Forks of one rollout are not independent (a later chunk depends on an earlier one), so they are no baseline for
    each other. NaN is a missing score and counts for nothing.
    """
    owner = torch.tensor(list(rollout))
    other = (owner[:, None] != owner[None, :]).to(scores.dtype)
    known = (~scores.isnan()).to(scores.dtype)
    return other @ scores.nan_to_num(0.0) / (other @ known).clamp(min=1)


def agreement_through(fork: ForkEvidence) -> Float[Tensor, " chunk"]:
    """Share of the teacher's texts that agree with the chunk through each offset; non-increasing. 0 without tokens."""
    length = len(fork.chunk_ids)
    usable = [ids for ids in fork.continuation_ids if ids is not None]
    alive = torch.zeros(length)
    for ids in usable:
        alive[: _shared(ids, fork.chunk_ids)] += 1
    return alive / max(1, len(usable))


def next_token_counts(fork: ForkEvidence, depth: int = 1) -> tuple[dict[int, int], ...]:
    """How often the teacher wrote each token at each offset below `depth`, over the texts that agree so far."""
    usable = [ids for ids in fork.continuation_ids if ids is not None]
    counts = (
        Counter(ids[offset] for ids in usable if len(ids) > offset and _shared(ids, fork.chunk_ids) >= offset)
        for offset in range(min(depth, len(fork.chunk_ids)))
    )
    return tuple(dict(sorted(count.items())) for count in counts)


def next_token_labels(fork: ForkEvidence, depth: int = 1) -> tuple[dict[int, float], ...]:
    """The same as shares: the teacher's empirical next-token distributions.

    With the student's tokenizer N texts are N samples of the teacher's next token, so at offset 0 the cross-entropy to
    them is an unbiased forward KL (up to a constant), without the noise of a policy gradient. With another tokenizer
    they are samples of its next word, cut as the student's tokenizer cuts words.
    """
    return tuple(
        {token: n / sum(counts.values()) for token, n in counts.items()} for counts in next_token_counts(fork, depth)
    )


def _as_floats(slots: Sequence[dict[int, int]]) -> tuple[dict[int, float], ...]:
    return tuple({token: float(n) for token, n in counts.items()} for counts in slots)


def _own_tokens(fork: ForkEvidence, depth: int, weight: float) -> tuple[dict[int, float], ...]:
    return tuple({token: weight} for token in fork.chunk_ids[:depth])


def _constant(evidence: Sequence[ForkEvidence], targets: Sequence[ForkTarget], depth: int) -> list[ForkTarget]:
    """The student's own tokens with the mean weight of all forks: of labels per offset, since deeper ones are rarer."""
    if any(t.labels for t in targets):
        mass = [
            sum(sum(t.labels[offset].values()) for t in targets if offset < len(t.labels)) / len(targets)
            for offset in range(depth)
        ]
        return [
            ForkTarget(t.weights, tuple({token: m} for token, m in zip(e.chunk_ids, mass, strict=False)))
            for e, t in zip(evidence, targets, strict=True)
        ]
    mean = torch.cat([t.weights for t in targets]).abs().mean()
    return [ForkTarget(torch.full_like(t.weights, float(mean))) for t in targets]


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


_TARGETS = {
    "paper": _paper,
    "centred": _centred,
    "labels": _labels,
    "posterior_kl": _posterior_kl,
    "prefix_credit": _prefix_credit,
    "none": _none,
}
_CONTROLS = ("none", "constant", "shuffled", "prior_only", "self_teacher")
