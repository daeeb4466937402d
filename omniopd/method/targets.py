"""What an audit asks of the student: the paper's weight, and the other targets by name.

Evidence of all forks of the *global* generation batch goes in at once (a micro-batch would centre on itself); one
`ForkTarget` per fork comes out, detached, computed once per batch from the forward without gradient.

A positive weight on −log π(y_t) raises the student's own token, a negative one lowers it, labels name tokens to raise.
On-policy, a constant weight has no expected gradient where forks do not depend on what follows them (early, random
and causal ones; peak forks do a little, tests/method/test_estimators.py): only differences between weights teach.
Centred targets use k / N and not π̂, because π̄ alone, with no teacher at all, points along the student's own sharpening.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from omniopd.method.arrays import Array
from omniopd.method.controls import CONTROLS, Control
from omniopd.method.evidence import (
    ForkEvidence,
    ForkTarget,
    agreement_through,
    credit,
    next_token_counts,
    next_token_labels,
    other_rollouts_mean,
)
from omniopd.method.forks import Permutation
from omniopd.method.registry import Choice, Registry


@dataclass(frozen=True, slots=True)
class AuditedBatch:
    """All forks of a batch; the texts of `forks[i]` are those of `donors[i]`. Without `texts` only priors are known.
    `xp` makes the arrays: torch or numpy."""

    forks: Sequence[ForkEvidence]
    donors: Sequence[ForkEvidence]
    texts: bool
    concentration: float
    depth: int
    xp: Any

    def row(self, fork: ForkEvidence, weight: Array | float = 0.0) -> Array:
        """One weight for every token of a fork's chunk."""
        return self.xp.full((len(fork.chunk_ids),), float(weight))


@dataclass(frozen=True, slots=True)
class Target(Choice):
    """`make` gives one `ForkTarget` per fork, of what `gives` says: weights of the student's tokens, labels (tokens of
    the teacher's), counts of them (the loss is then KL(π_θ ‖ π̂)), or nothing.

    `uses` are the settings of the objective that act on it. `centred` targets subtract what other rollouts have.
    `knows_prior`: π̄ alone asks for something, so that a control without texts trains at all.
    """

    make: Callable[[AuditedBatch], list[ForkTarget]]
    gives: Literal["weights", "labels", "counts", "nothing"] = "weights"
    uses: tuple[Literal["concentration", "depth", "redraws"], ...] = ()
    centred: bool = False
    knows_prior: bool = True

    @property
    def labelled(self) -> bool:
        return self.gives in ("labels", "counts")

    def allows(self, control: Control) -> bool:
        """Whether a control changes what is learnt."""
        return control.name != "none" and (control.texts or self.knows_prior)


def targets_of_forks(
    evidence: Sequence[ForkEvidence],
    target: str = "paper",
    control: str = "none",
    concentration: float = 1.0,
    depth: int = 1,
    permutation: Permutation | None = None,
    xp: Any = None,
) -> list[ForkTarget]:
    """The named target of every fork, in numpy arrays or those of `xp`. Raises ConfigError for an unknown name.

    `permutation` draws for the control `shuffled`. From records the same-fork baseline of redraws is not known.
    """
    chosen, kept = TARGETS[target], CONTROLS[control]
    if not evidence:
        return []
    if xp is None:
        import numpy as xp
    donors = evidence
    if kept.donors is not None:
        if permutation is None:
            raise ValueError(f"control {control!r} draws whose evidence a fork gets: give a permutation")
        donors = [evidence[i] for i in kept.donors(len(evidence), permutation)]
    made = chosen.make(AuditedBatch(evidence, donors, kept.texts, concentration, depth, xp))
    return made if kept.then is None else kept.then(evidence, made, depth)


def _paper(batch: AuditedBatch) -> list[ForkTarget]:
    """π̂ on every token of the chunk (README, rows (e) and (h))."""
    from omniopd.method.posterior import posterior_mean  # numpy comes with it, and a recipe is read without

    trust = posterior_mean(
        batch.xp.asarray([d.soft_count if batch.texts else 0.0 for d in batch.donors]),
        batch.xp.asarray([d.samples if batch.texts else 0 for d in batch.donors]),
        batch.xp.asarray([e.prior for e in batch.forks]),
        batch.concentration if batch.concentration > 0 or batch.texts else 1.0,
    )
    return [ForkTarget(batch.row(e, t)) for e, t in zip(batch.forks, trust, strict=True)]


def _centred(batch: AuditedBatch) -> list[ForkTarget]:
    """k / N minus a baseline: the student's redraws at the same fork where there are some, else other rollouts' mean.

    Redraws are scored against the teacher's texts: they travel with the donor, and are not known without texts.
    """
    xp = batch.xp
    shares = xp.asarray([[d.share] for d in batch.donors] if batch.texts else [[e.prior] for e in batch.forks])
    baseline = other_rollouts_mean(shares, [e.rollout for e in batch.forks])
    redrawn = [[d.redraw_share if batch.texts and d.redraw_share is not None else math.nan] for d in batch.donors]
    same_fork = xp.asarray(redrawn)
    centred = (shares - xp.where(xp.isnan(same_fork), baseline, same_fork))[:, 0]
    return [ForkTarget(batch.row(e, c)) for e, c in zip(batch.forks, centred, strict=True)]


def _prefix_credit(batch: AuditedBatch) -> list[ForkTarget]:
    """Token u gets Σ_{v ≥ u} of the share of texts that agree through v, centred per offset over other rollouts."""
    xp = batch.xp
    agreeing = [
        agreement_through(d, xp) if batch.texts else e.prior ** xp.arange(1.0, len(e.chunk_ids) + 1)
        for e, d in zip(batch.forks, batch.donors, strict=True)
    ]
    # A shorter chunk says nothing about the offsets that it lacks; a donor's may be shorter or longer than the own.
    scores = xp.full((len(agreeing), max(len(a) for a in agreeing)), math.nan)
    for row, alive in zip(scores, agreeing, strict=True):
        row[: len(alive)] = credit(alive)
    centred = xp.nan_to_num(scores - other_rollouts_mean(scores, [e.rollout for e in batch.forks]))
    made = [batch.row(e) for e in batch.forks]
    for weights, row in zip(made, centred, strict=True):
        weights[:] = row[: len(weights)]
    return [ForkTarget(weights) for weights in made]


def _labels(batch: AuditedBatch) -> list[ForkTarget]:
    """Cross-entropy to the teacher's empirical next-token counts: at the fork, and deeper where texts still agree."""
    if batch.texts:
        slots = [next_token_labels(d, batch.depth) for d in batch.donors]
    else:
        slots = [tuple({token: e.prior} for token in e.chunk_ids[: batch.depth]) for e in batch.forks]
    return [ForkTarget(batch.row(e), labels) for e, labels in zip(batch.forks, slots, strict=True)]


def _posterior_kl(batch: AuditedBatch) -> list[ForkTarget]:
    """The counts themselves: `posterior.posterior_label_weights` makes them KL(π_θ ‖ π̂) with the student's own
    distribution as prior. The prior alone is the student: nothing to learn."""
    return [
        ForkTarget(batch.row(e), next_token_counts(d, batch.depth) if batch.texts else ())
        for e, d in zip(batch.forks, batch.donors, strict=True)
    ]


def _none(batch: AuditedBatch) -> list[ForkTarget]:
    return [ForkTarget(batch.row(e)) for e in batch.forks]


TARGETS = Registry(
    "objective.target",
    Target("paper", "the trust, on the whole chunk", _paper, uses=("concentration",)),
    Target("centred", "the agreement less the mean of other rollouts", _centred, uses=("redraws",), centred=True),
    Target("labels", "the teacher's next tokens, by cross-entropy", _labels, "labels", ("depth",)),
    Target(
        "posterior_kl", "the teacher's next tokens, smoothed by the student", _posterior_kl, "counts",
        ("concentration", "depth"), knows_prior=False,
    ),
    Target("prefix_credit", "how long the teacher's texts still agree, centred", _prefix_credit, centred=True),
    Target("none", "nothing: for the continuation cross-entropy alone", _none, "nothing"),
)  # fmt: skip
