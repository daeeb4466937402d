"""The targets of `targets.py` from records alone, without torch: what another target would make of the same audits.

Tokens are known by their pieces of text: two with the same piece count as one, half a character by the one it begins.
Equal to the real ones on the same evidence (tests/method/test_plain_twins.py), the same-fork baseline of redraws apart,
which stands in no record.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from omniopd.errors import ConfigError
from omniopd.method.what_if import posterior_of
from omniopd.records import AuditRecord, RolloutRecord

PLAIN_TARGETS = ("paper", "centred", "labels", "posterior_kl", "prefix_credit", "none")
END = ("end",)  # the token that ends a turn: its piece is empty, and the last
_LONGEST_CHARACTER = 8  # tokens that one character may be split into


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
    """What a fork does to the loss, as `ForkTarget`: weights per token of the chunk, labels per offset (counts under
    `posterior_kl`).

    `label_nll` is what the labels cost, per offset, where a record tells.
    """

    weights: tuple[float, ...]
    labels: tuple[Mapping[Hashable, float], ...] = ()
    label_nll: tuple[float, ...] = ()


def evidence_of(rollouts: Sequence[RolloutRecord]) -> list[PlainEvidence]:
    """The evidence of all audits, in the order of the records."""
    return [
        PlainEvidence(r.row, chunk_of(r, a), a.similarities, a.prior, _continuations(a))
        for r in rollouts
        for a in r.audits
    ]


def recorded_targets(rollouts: Sequence[RolloutRecord]) -> list[PlainTarget] | None:
    """What the trainer itself made of the audits; None where the records hold no weights (a click, a probe)."""
    audits = [a for r in rollouts for a in r.audits]
    if not all(a.weights for a in audits):
        return None
    return [PlainTarget(a.weights, tuple(_added_up(slots) for slots in a.labels), a.label_nll) for a in audits]


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
            tuple({token: e.prior} for token in e.chunk[:depth]) if alone else next_token_labels(d, depth)
            for e, d in zip(evidence, donors, strict=True)
        ]
        made = [PlainTarget((0.0,) * n, slots) for n, slots in zip(lengths, labels, strict=True)]
    elif target == "posterior_kl":
        counts = [() if alone else next_token_counts(d, depth) for d in donors]
        made = [PlainTarget((0.0,) * n, slots) for n, slots in zip(lengths, counts, strict=True)]
    else:
        made = [PlainTarget((0.0,) * n) for n in lengths]
    return _constant(evidence, made, depth) if control == "constant" else made


def tokens_of(pieces: Sequence[str], after: Sequence[str] = ()) -> tuple[Hashable, ...]:
    """Pieces as tokens. An empty piece is half of a character and known by what completes it, also in the pieces
    `after`; with nothing behind it, it ends the turn."""
    following = (*pieces, *after)
    found: list[Hashable] = []
    for at, piece in enumerate(pieces):
        ahead = next((j for j in range(at + 1, len(following)) if following[j]), None)
        found.append(piece or (END if ahead is None else ("half", following[ahead], ahead - at)))
    return tuple(found)


def agreement_through_of(fork: PlainEvidence) -> list[float]:
    """Share of the texts that agree with the chunk through each offset; 0 where none is usable as tokens."""
    usable = [t for t in fork.continuations if t is not None]
    reached = [_shared(t, fork.chunk) for t in usable]
    return [sum(n > j for n in reached) / max(1, len(usable)) for j in range(len(fork.chunk))]


def next_token_counts(fork: PlainEvidence, depth: int = 1) -> tuple[dict[Hashable, float], ...]:
    """How often the teacher wrote each token at each offset below `depth`, over the texts that agree so far."""
    found: list[dict[Hashable, float]] = []
    for offset in range(min(depth, len(fork.chunk))):
        counts = Counter(
            t[offset]
            for t in fork.continuations
            if t is not None and len(t) > offset and _shared(t, fork.chunk) >= offset
        )
        found.append({token: float(n) for token, n in counts.items()})
    return tuple(found)


def next_token_labels(fork: PlainEvidence, depth: int = 1) -> tuple[dict[Hashable, float], ...]:
    """The same as shares: the teacher's empirical next-token distribution per offset."""
    return tuple(
        {token: n / sum(counts.values()) for token, n in counts.items()} for counts in next_token_counts(fork, depth)
    )


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


def _centred(scores: Sequence[Sequence[float]], owners: Sequence[int]) -> list[list[float]]:
    """Each score minus the mean of the same offset over *other* rollouts' forks; minus 0 where there is none."""
    totals: defaultdict[tuple[int | None, int], float] = defaultdict(float)
    counts: Counter[tuple[int | None, int]] = Counter()
    for row, owner in zip(scores, owners, strict=True):
        for offset, value in enumerate(row):
            for key in ((None, offset), (owner, offset)):
                totals[key] += value
                counts[key] += 1

    def baseline(owner: int, offset: int) -> float:
        others = counts[None, offset] - counts[owner, offset]
        return (totals[None, offset] - totals[owner, offset]) / others if others else 0.0

    return [
        [value - baseline(owner, offset) for offset, value in enumerate(row)]
        for row, owner in zip(scores, owners, strict=True)
    ]


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
