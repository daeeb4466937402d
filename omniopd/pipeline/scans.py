"""The scans of the answer that a session explores: carried out once under a recipe's settings, and priced before.

What a scan takes is known only once it is over, since each text ends where teacher and student part: its price is a
guess, of what the teacher's remembered texts do not say already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedTokenizerBase

from omniopd.auditing import audit_as_set
from omniopd.auditing.scan import NO_TOKEN
from omniopd.config import Recipe
from omniopd.costs.request import CostEstimate, Guess, guessed
from omniopd.method.scan import expected_texts
from omniopd.method.tensors import exact_similarity
from omniopd.teachers.asking import ask
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.spending.estimate import written_of_a_scan
from omniopd.types import AuditedRollout, ContinuationRequest, Continuations, Rollout, Teacher

Settings = tuple[str, int, int, int, int, float]


@dataclass(slots=True)
class Scans:
    """Those of one answer. `newer` are the forks that were asked about since the last one."""

    rollout: Rollout
    tokenizer: PreTrainedTokenizerBase
    newer: set[tuple[int, int]] = field(default_factory=set)
    _done: dict[tuple[Settings, int], AuditedRollout] = field(default_factory=dict)
    _shown: dict[Settings, AuditedRollout] = field(default_factory=dict)  # the last one asked for, whatever its seed
    # What is left to ask, without its price: prices are settings too.
    _left: dict[tuple[Settings, int], list[Guess]] = field(default_factory=dict)

    def under(self, recipe: Recipe) -> AuditedRollout | None:
        """The last scan under these settings, as far as the teacher answered."""
        return self._shown.get(_settings(recipe)) if recipe.audit.way == "scan" else None

    def is_whole(self, recipe: Recipe, seed: int) -> bool:
        """Whether nothing is left to ask of the draws of this seed."""
        found = self._done.get((_settings(recipe), seed)) if recipe.audit.way == "scan" else None
        return found is not None and all(u.problem == NO_TOKEN for u in found.unanswered)

    def carry_out(self, recipe: Recipe, teacher: Teacher, seed: int) -> AuditedRollout:
        """Scan the answer; what the teacher fails to say leaves what was said before."""
        self.newer.clear()
        self._left.clear()
        settings = _settings(recipe)
        if not self.is_whole(recipe, seed):
            self._done[settings, seed] = self._scanned(recipe, teacher, seed)
        self._shown[settings] = self._done[settings, seed]
        return self._shown[settings]

    def price(
        self, recipe: Recipe, memory: CachedTeacher, seconds: float | None, seed: int, question_tokens: int
    ) -> CostEstimate:
        """What `carry_out` would take; nothing where all texts are at hand. `question_tokens` long is the question as
        the teacher sees it."""
        if self.is_whole(recipe, seed):
            return CostEstimate(0, 0)
        key = _settings(recipe), seed
        if key not in self._left:
            remembered = _Remembered(memory)
            audited = self._scanned(recipe, remembered, seed)
            self._left[key] = self._guesses(recipe, remembered, audited, question_tokens)
        return guessed(self._left[key], memory, recipe, seconds)

    def _scanned(self, recipe: Recipe, teacher: Teacher, seed: int) -> AuditedRollout:
        [audited] = audit_as_set(
            recipe.audit, [self.rollout], teacher, self.tokenizer, torch.Generator().manual_seed(0), seed,
            exact_similarity, recipe.teacher.tokens_per_student_token,
        )  # fmt: skip
        return audited

    def _guesses(
        self, recipe: Recipe, remembered: _Remembered, audited: AuditedRollout, question_tokens: int
    ) -> list[Guess]:
        """One for each conversation that would go on: from where memory leaves it to the end."""
        audit, broken, length = recipe.audit, remembered.unknown, len(self.rollout)
        if not broken:
            return []
        left = audit.samples * length - sum(a.samples * len(a.chunk_ids) for a in audited.audits)
        texts = len(broken) - 1 + expected_texts(max(1, left))
        if audit.forks:
            texts = min(texts, max(len(broken), audit.samples * audit.forks - remembered.texts))
        each = texts / len(broken)
        return [
            Guess(
                texts=each,
                read=question_tokens + (len(request.prefix_ids or ()) + length) / 2,
                written=written_of_a_scan(recipe, length),
            )
            for request in broken
        ]


class _Remembered:
    """Says what a teacher is remembered to have said, and nothing else: what it would have been asked is `unknown`."""

    def __init__(self, memory: CachedTeacher) -> None:
        self.memory, self.texts = memory, 0
        self.unknown: list[ContinuationRequest] = []

    def continue_from(self, requests: Sequence[ContinuationRequest], on_result: object = None) -> list[Continuations]:
        is_known = [not self.memory.missing(request) for request in requests]
        known = [request for request, at_hand in zip(requests, is_known, strict=True) if at_hand]
        self.unknown += [request for request, at_hand in zip(requests, is_known, strict=True) if not at_hand]
        self.texts += len(known)
        answers = iter(ask(self.memory, known) if known else [])
        return [next(answers) if at_hand else Continuations((), problem="not asked") for at_hand in is_known]


def _settings(recipe: Recipe) -> Settings:
    """What changes a scan."""
    a = recipe.audit
    return a.scheduler, a.forks, a.samples, a.chunk_tokens, a.at_once, recipe.teacher.tokens_per_student_token
