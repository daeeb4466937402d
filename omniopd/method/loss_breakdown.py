"""What each recorded fork does to the loss, from records alone.

Knows no model: the log-probability of a label that is not the student's own token stands in no record, and its part is
then a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy

from omniopd.method.arrays import Array
from omniopd.method.evidence import ForkTarget
from omniopd.method.loss import omniopd_loss
from omniopd.method.posterior import posterior_kl, posterior_label_weights
from omniopd.method.recorded import END, chunk_of
from omniopd.method.targets import TARGETS
from omniopd.records import AuditRecord, RolloutRecord

INCOMPLETE = "\ufffd"


@dataclass(frozen=True, slots=True)
class ForkContribution:
    """One fork's part of the loss, in nats before the normaliser.

    `chunk` is Σ weight · −log π of the student's tokens; `labels` the same for label tokens, a lower bound where
    `label_mass_unknown` is above 0 (their log-probabilities are in no record). `kl` is Σ KL(π_ref ‖ π_θ) over the
    chunk, `anchor` the part of it that the loss counts, times β. `nll` is the mean −log π of the student's tokens.
    """

    row: int
    start: int
    stop: int
    entropy: float
    weight: float
    nll: float
    chunk: float
    labels: float
    label_mass: float
    label_mass_unknown: float
    kl: float
    anchor: float

    @property
    def tokens(self) -> int:
        return self.stop - self.start

    @property
    def size(self) -> float:
        return abs(self.chunk) + abs(self.labels) + abs(self.anchor)


@dataclass(frozen=True, slots=True)
class LossBreakdown:
    """Every part of one loss: the forks in the order of the records, and the anchor on all other tokens."""

    forks: tuple[ForkContribution, ...]
    anchor: float
    anchored_tokens: int
    normaliser: float = 1.0

    @property
    def chunk_loss(self) -> float:
        return sum(f.chunk + f.labels for f in self.forks) / self.normaliser

    @property
    def anchor_loss(self) -> float:
        return (sum(f.anchor for f in self.forks) + self.anchor) / self.normaliser

    @property
    def is_exact(self) -> bool:
        return all(f.label_mass_unknown == 0 for f in self.forks)

    @property
    def size(self) -> float:
        """Σ |part|: what shares are of, so that negative weights do not cancel positive ones."""
        return abs(self.anchor) + sum(f.size for f in self.forks)


@runtime_checkable
class Objective(Protocol):
    """The settings of the loss, such as a recipe's `ObjectiveConfig`."""

    @property
    def target(self) -> str: ...

    @property
    def concentration(self) -> float: ...

    @property
    def anchor_weight(self) -> float: ...

    @property
    def anchor_on(self) -> str: ...


def break_down(
    rollouts: Sequence[RolloutRecord],
    targets: Sequence[ForkTarget],
    objective: Objective,
    normaliser: float = 1.0,
) -> LossBreakdown:
    """The loss of these rollouts taken apart; `targets` run over their audits in order.

    `objective.target` is the one that made `targets`. `normaliser` is the trainer's: rollouts of the step × a fixed
    length. With it, the parts of all rollouts of a step add up to the recorded losses (of the first micro-steps: the
    student has not moved since it sampled). The additive continuation cross-entropy is in no record and not here.
    """
    remaining = iter(targets)
    parts, anchor, anchored_tokens = [], 0.0, 0
    for r in rollouts:
        logprobs, kl, beside = numpy.array(r.logprobs), numpy.zeros(len(r.pieces)), numpy.ones(len(r.pieces), bool)
        kl[: len(r.anchor_kl)] = r.anchor_kl
        for a in r.audits:
            parts.append(_part(r, a, next(remaining), objective, logprobs, kl))
            beside[a.start : a.stop] = False
        anchored_tokens += int(beside.sum())
        anchor += float(omniopd_loss(logprobs, kl, 0.0 * kl, beside, objective.anchor_weight).anchor)
    return LossBreakdown(tuple(parts), anchor, anchored_tokens, normaliser)


def _part(
    rollout: RolloutRecord, audit: AuditRecord, target: ForkTarget, objective: Objective, logprobs: Array, kl: Array
) -> ForkContribution:
    logprobs, kl = logprobs[audit.start : audit.stop], kl[audit.start : audit.stop]
    anchored = numpy.full(len(kl), objective.anchor_on == "all")
    loss = omniopd_loss(logprobs, kl, target.weights, anchored, objective.anchor_weight)
    known, mass, unknown = 0.0, 0.0, 0.0
    chunk = chunk_of(rollout, audit)
    for offset, slots in enumerate(target.labels):
        own, own_logprob = chunk[offset], float(logprobs[offset])
        on_own, all_of_it = slots.get(own, 0.0), sum(slots.values())
        mass += all_of_it
        unknown += all_of_it - on_own
        # Where a label may be the student's own token, written otherwise, nothing is known of it.
        others = [w for token, w in slots.items() if token != own and _told_apart(token, own) and w > 0]
        # A record may be of a target that is not declared here.
        if objective.target not in TARGETS or TARGETS[objective.target].gives != "counts":
            known += _least_nll(others, own_logprob) - on_own * own_logprob
        elif math.isclose(on_own + sum(others), all_of_it):
            known += _least_divergence(on_own, sum(others), own_logprob, objective.concentration)
    if target.label_nll:
        known, unknown = sum(target.label_nll), 0.0
    return ForkContribution(
        row=rollout.row,
        start=audit.start,
        stop=audit.stop,
        entropy=audit.entropy,
        weight=float(target.weights.mean()) if len(target.weights) else 0.0,
        nll=-float(logprobs.mean()),
        chunk=float(loss.chunk),
        labels=known,
        label_mass=mass,
        label_mass_unknown=unknown,
        kl=float(kl.sum()),
        anchor=float(loss.anchor),
    )


def _told_apart(token: Hashable, own: Hashable) -> bool:
    """Whether what looks different is another token: not where either is part of a character, nor where the student
    ended its turn (recorded labels write that token out, as any text)."""
    if not isinstance(own, str) or INCOMPLETE in own:
        return False
    return token == END or (isinstance(token, str) and bool(token) and INCOMPLETE not in token)


def _least_nll(weights: Sequence[float], own_logprob: float) -> float:
    """The least Σ weight · −log π that tokens can have which share what the student's own token leaves them."""
    # 1 − p is at least what single precision can tell from 0.
    rest, total = max(-math.expm1(own_logprob), 2.0**-24), sum(weights)
    return -sum(w * math.log(rest * w / total) for w in weights)


def _least_divergence(on_own: float, on_others: float, own_logprob: float, concentration: float) -> float:
    """The least KL(π_θ ‖ π̂) that counts can have: that of two cells, the student's own token and the rest; exact where
    no text begins with another token. Nothing is known without a prior or without counts."""
    if concentration == 0 or on_own + on_others == 0:
        return 0.0
    counts = numpy.array([on_own, on_others])
    # A token that cannot be must not divide by 0, and 1 − p is at least what single precision can tell from 0.
    cells = numpy.array([max(own_logprob, -500 * math.log(2)), math.log(max(-math.expm1(own_logprob), 2.0**-24))])
    with numpy.errstate(divide="ignore"):  # of a count of 0
        weights = posterior_label_weights(counts, cells, concentration)
    return float(posterior_kl(counts, weights, concentration))
