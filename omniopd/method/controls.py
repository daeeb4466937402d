"""What is taken away from an audit, to see what remains of the gain.

`shuffled` gives each fork the evidence of another one: the teacher's values without their places. `constant` puts the
batch's mean absolute weight on every audited token. `prior_only` has no samples and knows π̄ alone. `self_teacher` and
`other_context` change who is asked, and what the teacher is shown, not what is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from omniopd.method.arrays import namespace
from omniopd.method.evidence import ForkEvidence, ForkTarget
from omniopd.method.forks import Permutation
from omniopd.method.registry import Choice, Registry


def derangement(count: int, permutation: Permutation) -> Sequence[int]:
    """A permutation that leaves nothing in its place, each of them equally likely; the identity of fewer than two."""
    while True:
        order = permutation(count)
        # Of all permutations 1/e move everything, so that this ends after three draws in the mean.
        if count < 2 or all(place != i for i, place in enumerate(order)):
            return order


def differing(parts: Sequence[tuple[str, ...]], permutation: Permutation) -> list[int | None]:
    """A derangement that gives each place another one's parts, all of which differ from its own; None where no place
    has such. Where too many are alike, some are given twice."""
    count = len(parts)
    stuck: set[tuple[str, ...]] = set()
    order = [*derangement(count, permutation)]
    for i, own in enumerate(parts):
        if own in stuck or differ(own, parts[order[i]]):
            continue
        for j in (place % count for place in range(i + 1, i + count)):
            if differ(own, parts[order[j]]) and differ(parts[j], parts[order[i]]):
                order[i], order[j] = order[j], order[i]
                break
        else:
            stuck.add(own)  # no exchange helps: none will help the next one that is like it
    able: dict[tuple[str, ...], Sequence[int | None]]
    able = {own: [k for k in range(count) if differ(own, parts[k])] or [None] for own in stuck}
    return [
        at if differ(own, parts[at]) else able[own][at % len(able[own])]
        for own, at in zip(parts, order, strict=True)
    ]  # fmt: skip


def differ(own: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether no part of the two is the same text; an empty one is like nothing."""
    return all(a != b or not a for a, b in zip(own, other, strict=True))


def constant(evidence: Sequence[ForkEvidence], targets: Sequence[ForkTarget], depth: int) -> list[ForkTarget]:
    """The student's own tokens with the mean weight of all forks: of labels per offset, since deeper ones are rarer."""
    if any(t.labels for t in targets):
        mass = [
            sum(sum(t.labels[offset].values()) for t in targets if offset < len(t.labels)) / len(targets)
            for offset in range(depth)
        ]
        return [
            replace(t, labels=tuple({token: m} for token, m in zip(e.chunk_ids, mass, strict=False)))
            for e, t in zip(evidence, targets, strict=True)
        ]
    xp = namespace(targets[0].weights)
    mean = float(abs(xp.concatenate([t.weights for t in targets])).mean())
    return [replace(t, weights=xp.full_like(t.weights, mean)) for t in targets]


@dataclass(frozen=True, slots=True)
class Control(Choice):
    """`donors` says whose evidence each fork gets (None: its own); without `texts` a fork knows its prior alone;
    `then` changes the targets that were made; `asks_student` has the student asked in the teacher's place;
    `shows_others` has a teacher that sees more than the student see the solution and answer of another row."""

    donors: Callable[[int, Permutation], Sequence[int]] | None = None
    texts: bool = True
    then: Callable[[Sequence[ForkEvidence], list[ForkTarget], int], list[ForkTarget]] | None = None
    asks_student: bool = False
    shows_others: bool = False


CONTROLS = Registry(
    "objective.control",
    Control("none", "nothing is taken away"),
    Control("constant", "every audited token weighs the same", then=constant),
    Control("shuffled", "each fork gets the evidence of another", donors=derangement),
    Control("prior_only", "the student's own confidence, without texts", texts=False),
    Control("self_teacher", "the student is asked in the teacher's place", asks_student=True),
    Control("other_context", "the teacher sees another row's solution", shows_others=True),
)
