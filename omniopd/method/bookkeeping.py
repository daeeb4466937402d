"""What each recorded fork does to the loss: a twin of `targets.py` and `loss.py` without torch, from records alone.

Targets are made again by name, so that a view can show what another one would have done with the same audits; tokens
are known by their pieces of text (two tokens with the same piece count as one). Knows no model: the log-probability of
a label that is not the student's own token stands in no record, and its part is then a lower bound.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from omniopd.config.settings import ObjectiveConfig
from omniopd.errors import ConfigError
from omniopd.method.what_if import posterior_of
from omniopd.records import AuditRecord, RolloutRecord

PLAIN_TARGETS = ("paper", "centred", "labels", "prefix_credit", "none")
INCOMPLETE = "\ufffd"


@dataclass(frozen=True, slots=True)
class PlainEvidence:
    """One fork in numbers, as `ForkEvidence`; a token is anything with an identity (an id, or its piece of text)."""

    rollout: int
    chunk: tuple[Hashable, ...]
    similarities: tuple[float, ...]
    prior: float
    continuations: tuple[tuple[Hashable, ...] | None, ...] = ()

    @property
    def share(self) -> float:
        return sum(self.similarities) / len(self.similarities)


@dataclass(frozen=True, slots=True)
class PlainTarget:
    """What a fork does to the loss, as `ForkTarget`: weights per token of the chunk, labels per offset."""

    weights: tuple[float, ...]
    labels: tuple[Mapping[Hashable, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ForkPart:
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
    def total(self) -> float:
        return self.chunk + self.labels + self.anchor


@dataclass(frozen=True, slots=True)
class Ledger:
    """Every part of one loss: the forks in the order of the records, and the anchor on all other tokens."""

    forks: tuple[ForkPart, ...]
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

    def share(self, part: float) -> float:
        """|part| of all parts' sizes: negative weights do not cancel positive ones. 0 where nothing pulls."""
        size = abs(self.anchor) + sum(abs(f.chunk) + abs(f.labels) + abs(f.anchor) for f in self.forks)
        return abs(part) / size if size else 0.0


def evidence_of(rollouts: Sequence[RolloutRecord]) -> list[PlainEvidence]:
    """The evidence of all audits, in the order of the records."""
    return [
        PlainEvidence(r.row, r.pieces[a.start : a.stop], a.similarities, a.prior, _continuations(a))
        for r in rollouts
        for a in r.audits
    ]


def recorded_targets(rollouts: Sequence[RolloutRecord]) -> list[PlainTarget] | None:
    """What the trainer itself made of the audits; None where the records hold no weights (a click, a probe)."""
    audits = [a for r in rollouts for a in r.audits]
    if not all(a.weights for a in audits):
        return None
    return [PlainTarget(a.weights, tuple(dict(slots) for slots in a.labels)) for a in audits]


def plain_targets(
    evidence: Sequence[PlainEvidence],
    target: str = "paper",
    control: str = "none",
    concentration: float = 1.0,
    depth: int = 1,
    order: Sequence[int] | None = None,
) -> list[PlainTarget]:
    """The named target of every fork; equal to `targets.fork_targets` on the same evidence (without redraws).

    `order` is the permutation of the control `shuffled`. Raises ConfigError for an unknown name.
    """
    if target not in PLAIN_TARGETS:
        raise ConfigError(f"target is {target!r}: it must be one of {', '.join(PLAIN_TARGETS)}")
    donors = [evidence[i] for i in order] if order is not None else list(evidence)
    alone = control == "prior_only"
    owners = [e.rollout for e in evidence]
    lengths = [len(e.chunk) for e in evidence]
    if target == "paper":
        alpha = concentration if concentration > 0 or not alone else 1.0
        trust = [
            posterior_of(() if alone else d.similarities, e.prior, alpha).mean
            for e, d in zip(evidence, donors, strict=True)
        ]
        made = [PlainTarget((t,) * n) for t, n in zip(trust, lengths, strict=True)]
    elif target == "centred":
        scores = [[e.prior] if alone else [d.share] for e, d in zip(evidence, donors, strict=True)]
        made = [PlainTarget((row[0],) * n) for row, n in zip(_centred(scores, owners), lengths, strict=True)]
    elif target == "prefix_credit":
        credit = [
            _sums_from([e.prior**j for j in range(1, len(e.chunk) + 1)] if alone else agreement_through_of(d))
            for e, d in zip(evidence, donors, strict=True)
        ]
        rows = zip(_centred(credit, owners), lengths, strict=True)
        made = [PlainTarget(tuple((row + [0.0] * n)[:n])) for row, n in rows]
    elif target == "labels":
        labels = [
            tuple({token: e.prior} for token in e.chunk[:depth]) if alone else next_token_counts(d, depth)
            for e, d in zip(evidence, donors, strict=True)
        ]
        made = [PlainTarget((0.0,) * n, slots) for n, slots in zip(lengths, labels, strict=True)]
    else:
        made = [PlainTarget((0.0,) * n) for n in lengths]
    return _constant(evidence, made, depth) if control == "constant" else made


def ledger(
    rollouts: Sequence[RolloutRecord],
    targets: Sequence[PlainTarget],
    objective: ObjectiveConfig | None = None,
    normaliser: float = 1.0,
) -> Ledger:
    """The loss of these rollouts taken apart; `targets` run over their audits in order.

    `normaliser` is the trainer's: rollouts of the step × a fixed length. With it, the parts of all rollouts of a step
    add up to the recorded losses (of the first micro-steps: the student has not moved since it sampled). The additive
    continuation cross-entropy is in no record and not here.
    """
    objective = objective or ObjectiveConfig()
    remaining = iter(targets)
    parts, anchor, anchored_tokens = [], 0.0, 0
    for r in rollouts:
        beside = set(range(len(r.pieces)))
        for a in r.audits:
            parts.append(_part(r, a, next(remaining), objective))
            beside -= set(range(a.start, a.stop))
        anchored_tokens += len(beside)
        anchor += objective.anchor_weight * sum(r.anchor_kl[t] for t in beside if t < len(r.anchor_kl))
    return Ledger(tuple(parts), anchor, anchored_tokens, normaliser)


def agreement_through_of(fork: PlainEvidence) -> list[float]:
    """Share of the texts that agree with the chunk through each offset; 0 where none is usable as tokens."""
    usable = [t for t in fork.continuations if t is not None]
    reached = [_shared(t, fork.chunk) for t in usable]
    return [sum(n > j for n in reached) / max(1, len(usable)) for j in range(len(fork.chunk))]


def next_token_counts(fork: PlainEvidence, depth: int = 1) -> tuple[dict[Hashable, float], ...]:
    """The teacher's empirical next-token distribution per offset below `depth`, over the texts that agree so far."""
    found: list[dict[Hashable, float]] = []
    for offset in range(min(depth, len(fork.chunk))):
        counts = Counter(
            t[offset]
            for t in fork.continuations
            if t is not None and len(t) > offset and _shared(t, fork.chunk) >= offset
        )
        found.append({token: n / counts.total() for token, n in counts.items()})
    return tuple(found)


def _continuations(audit: AuditRecord) -> tuple[tuple[Hashable, ...] | None, ...]:
    """Pieces of every text. No pieces mean a text that cannot be written as tokens, unless the text itself is empty."""
    return tuple(p if p or text == "" else None for text, p in zip(audit.texts, audit.text_pieces, strict=False))


def _part(rollout: RolloutRecord, audit: AuditRecord, target: PlainTarget, objective: ObjectiveConfig) -> ForkPart:
    logprobs = rollout.logprobs[audit.start : audit.stop]
    known, mass, unknown = 0.0, 0.0, 0.0
    for offset, slots in enumerate(target.labels):
        piece = rollout.pieces[audit.start + offset]
        on_own = slots.get(piece, 0.0)
        known -= on_own * logprobs[offset]
        mass += sum(slots.values())
        unknown += sum(slots.values()) - on_own
        # Where a label may be the student's own token, written otherwise, nothing is known of it.
        others = [w for token, w in slots.items() if token != piece and _told_apart(token, piece) and w > 0]
        known += _least_nll(others, logprobs[offset])
    kl = sum(rollout.anchor_kl[audit.start : audit.stop])
    return ForkPart(
        row=rollout.row,
        start=audit.start,
        stop=audit.stop,
        entropy=audit.entropy,
        weight=sum(target.weights) / len(target.weights) if target.weights else 0.0,
        nll=-sum(logprobs) / len(logprobs),
        chunk=-sum(w * value for w, value in zip(target.weights, logprobs, strict=True)),
        labels=known,
        label_mass=mass,
        label_mass_unknown=unknown,
        kl=kl,
        anchor=objective.anchor_weight * kl if objective.anchor_on == "all" else 0.0,
    )


def _told_apart(token: Hashable, piece: str) -> bool:
    """Whether two different pieces are two different tokens: an empty one ends a turn or is half a character."""
    return bool(piece) and bool(token) and INCOMPLETE not in str(token)


def _least_nll(weights: Sequence[float], own_logprob: float) -> float:
    """The least Σ weight · −log π that tokens can have which share what the student's own token leaves them."""
    # 1 − p is at least what single precision can tell from 0.
    rest, total = max(-math.expm1(own_logprob), 2.0**-24), sum(weights)
    return -sum(w * math.log(rest * w / total) for w in weights)


def _centred(scores: Sequence[Sequence[float]], owners: Sequence[int]) -> list[list[float]]:
    """Each score minus the mean of the same offset over *other* rollouts' forks; minus 0 where there is none."""
    found = []
    for row, owner in zip(scores, owners, strict=True):
        centred = []
        for offset, value in enumerate(row):
            others = [s[offset] for s, o in zip(scores, owners, strict=True) if o != owner and len(s) > offset]
            centred.append(value - sum(others) / max(1, len(others)))
        found.append(centred)
    return found


def _sums_from(values: Sequence[float]) -> list[float]:
    """Σ over v ≥ u for every u."""
    return [sum(values[u:]) for u in range(len(values))]


def _constant(evidence: Sequence[PlainEvidence], targets: Sequence[PlainTarget], depth: int) -> list[PlainTarget]:
    """As `targets.fork_targets` with the control `constant`."""
    if any(t.labels for t in targets):
        mass = [
            sum(sum(t.labels[j].values()) for t in targets if j < len(t.labels)) / len(targets) for j in range(depth)
        ]
        return [
            PlainTarget(t.weights, tuple({token: m} for token, m in zip(e.chunk, mass, strict=False)))
            for e, t in zip(evidence, targets, strict=True)
        ]
    sizes = [abs(w) for t in targets for w in t.weights]
    mean = sum(sizes) / max(1, len(sizes))
    return [PlainTarget((mean,) * len(t.weights)) for t in targets]


def _shared(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
