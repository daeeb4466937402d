"""What is to be known of one fork at a glance: what the student wrote, what the teacher wrote instead, how far it is
trusted, and which way the update pushes. Knows records and a recipe; numbers and strings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from omniopd.config import Recipe
from omniopd.method.disagreement import teacher_tokens
from omniopd.method.evidence import ForkTarget
from omniopd.method.loss_breakdown import break_down
from omniopd.method.recorded import END as TURN_ENDS
from omniopd.method.recorded import chunk_of, targets_of_records, tokens_of
from omniopd.method.similarity import SIMILARITIES, without_model
from omniopd.method.targets import TARGETS
from omniopd.records import AuditRecord, Posterior, RolloutRecord
from omniopd_widgets._parts import pencil
from omniopd_widgets._parts.evidence import differences, merged
from omniopd_widgets._parts.safe import JsonObject, to_json
from omniopd_widgets._parts.savings import NONE_BELOW

_FLAT = 1e-6  # a weight or a change of probability below this pushes nowhere
UP, DOWN, NOWHERE, UNKNOWN = "up", "down", "nowhere", "unknown"
HALF = "half of a character"


def stories(record: RolloutRecord, recipe: Recipe) -> list[JsonObject]:
    """One for every audit that has texts, in the order of the answer."""
    record = replace(record, audits=tuple(audit for audit in record.audits if audit.similarities))
    if not record.audits:
        return []
    objective = recipe.objective
    offered = [name for name, target in TARGETS.items() if target.gives != "nothing"]
    under = {name: _made(record, name, recipe) for name in dict.fromkeys([*offered, objective.target])}
    parts = break_down([record], under[objective.target], objective, 1.0)
    found = []
    for place, audit in enumerate(record.audits):
        pushes = {name: _push(record, audit, name, targets[place], recipe) for name, targets in under.items()}
        end = pencil.at_its_end(audit, record)
        found.append(
            {
                **_told(record, audit, end), "share": parts.forks[place].size / (parts.size or 1.0),
                "pushes": [{"target": name, "about": TARGETS[name].label, **pushes[name]} for name in offered],
                "push": pushes[objective.target],
                "warning": _warning(record, audit, pushes, recipe),
            }
        )  # fmt: skip
    return [to_json(story) for story in found]


def _made(record: RolloutRecord, target: str, recipe: Recipe) -> list[ForkTarget]:
    return targets_of_records([record], target, recipe.objective.concentration, recipe.objective.depth)


def _told(record: RolloutRecord, audit: AuditRecord, end: AuditRecord) -> dict[str, Any]:
    place = end.start
    count = len(audit.texts)
    sure = math.exp(record.logprobs[place]) if place < len(record.logprobs) else None
    told = {
        "start": audit.start, "stop": audit.stop, "place": place, "run": audit.run, "count": count,
        "entropy": end.entropy, "sure": sure, "trust": end.posterior_mean, "prior": end.prior,
        "agreement": end.soft_count / count, "exact": audit.exact,
        "own": _named(_own_token(record, audit)),
        "next": [(_named(token), count) for token, count in _next_tokens(audit)], "problem": audit.problem or "",
    }  # fmt: skip
    if audit.run:
        own = [(end.chunk, pencil.agreeing(audit), True)] if pencil.agreeing(audit) else []
        said = sorted([*own, *((text, times, False) for text, times in pencil.said(audit))], key=lambda t: -t[1])
        texts = [{"draws": times, "parts": [("same" if same else "other", text)], "similarity": float(same)}
                 for text, times, same in said]  # fmt: skip
        return {**told, "chunk": end.chunk, "agreed": pencil.agreed_text(audit), "texts": texts}
    texts = [
        {"draws": len(draws), "parts": differences(audit.chunk, text), "similarity": audit.similarities[draws[0]],
         "first": draws[0]}
        for text, draws in merged(audit.texts[: len(audit.similarities)])
    ]  # fmt: skip
    return {**told, "chunk": audit.chunk, "agreed": "", "texts": sorted(texts, key=lambda t: -int(str(t["draws"])))}


def _push(record: RolloutRecord, audit: AuditRecord, name: str, made: ForkTarget, recipe: Recipe) -> dict[str, Any]:
    """Which way a target moves the student's own token at this place, by how much, and towards which other token.

    Of a target that subtracts what the step's other rollouts have, one answer alone tells nothing. Weights: their mean
    over a fork's chunk, of a run that of its last token. Labels: the share that they, or their posterior, leave the
    student's own token, less its probability now.
    """
    if TARGETS[name].centred:
        return {"way": UNKNOWN, "by": None, "towards": None, "labels": False}
    at = _offset(audit)
    labels: Mapping[Any, float] = made.labels[at] if at < len(made.labels) else {}
    total = sum(labels.values())
    if total > 0:
        place, own = audit.start + at, _own_token(record, audit)
        now = math.exp(record.logprobs[place]) if place < len(record.logprobs) else 0.0
        shares = {token: weight / total for token, weight in labels.items()}
        best = max((token for token in shares if token != own), key=lambda token: shares[token], default=None)
        weight = total / (total + recipe.objective.concentration) if TARGETS[name].gives == "counts" else 1.0
        by = weight * (shares.get(own, 0.0) - now)
        towards = None if best is None or shares[best] <= 0 else _named(best)
        return {"way": _way(by), "by": by, "towards": towards, "labels": True}
    weights = [float(weight) for weight in (made.weights[at:] if audit.run else made.weights)]
    by = sum(weights) / len(weights) if weights else 0.0
    return {"way": _way(by), "by": by, "towards": None, "labels": False}


def _way(by: float) -> str:
    return NOWHERE if abs(by) < _FLAT else UP if by > 0 else DOWN


def _offset(audit: AuditRecord) -> int:
    """Which token of an audit is told: a fork's first, a run's last."""
    return audit.stop - audit.start - 1 if audit.run else 0


def _own_token(record: RolloutRecord, audit: AuditRecord) -> Hashable:
    """The student's token there, as labels know tokens: two halves of characters may have the same text."""
    return chunk_of(record, audit)[_offset(audit)]


def _next_tokens(audit: AuditRecord) -> list[tuple[Hashable, int]]:
    """The teacher's tokens there with their counts; of texts that are not known as tokens the first words."""
    at = -1 if audit.run else 0
    known = Counter(tokens_of(pieces)[at] for pieces in audit.text_pieces[: len(audit.texts)] if pieces)
    if not known:
        return [(token or TURN_ENDS, count) for token, count in teacher_tokens(audit)]
    return sorted(known.items(), key=lambda item: (-item[1], str(item[0])))


def _named(token: Hashable) -> str:
    """A token as the page shows it; "" is the end of the turn."""
    return token if isinstance(token, str) else "" if token == TURN_ENDS else HALF


def _warning(
    record: RolloutRecord, audit: AuditRecord, pushes: Mapping[str, dict[str, Any]], recipe: Recipe
) -> JsonObject | None:
    """Where the update strengthens a token that no text of the teacher begins with, though they count as alike: what
    would weaken or turn that, as settings to try."""
    if audit.run or pushes[recipe.objective.target]["way"] != UP:
        return None
    if audit.soft_count / len(audit.texts) < NONE_BELOW:  # it is the student's own confidence that strengthens it
        return None
    own = _own_token(record, audit)
    if not isinstance(own, str) or any(token == own for token, _ in _next_tokens(audit)):
        return None
    if any(text.startswith(own) for text in audit.texts):
        return None
    return to_json(
        {
            "similarity": recipe.audit.similarity, "agreement": audit.soft_count / len(audit.texts),
            "similarities": _stricter(audit, recipe),
            "targets": [name for name, push in pushes.items() if push["way"] == DOWN],
        }
    )  # fmt: skip


def _stricter(audit: AuditRecord, recipe: Recipe) -> list[tuple[str, float]]:
    """Similarities under which this fork would be trusted by less than half, with π̂ under each."""
    found: list[tuple[str, float]] = []
    for name, compare in without_model().items():
        if name == recipe.audit.similarity or name not in SIMILARITIES:
            continue
        values: Sequence[float] = [float(value) for value in compare(audit.chunk, audit.texts)]
        trust = Posterior.of(sum(values), len(values), audit.prior, recipe.objective.concentration).mean
        if trust < audit.posterior_mean / 2:
            found.append((name, trust))
    return sorted(found, key=lambda pair: pair[1])
