"""Looking before training: a student, a teacher and a task at hand, one answer at a time.

Sampling and auditing are the very functions of a training step; what comes back are records, so that a view shows what
training would do. A teacher's texts are remembered: the second look asks nobody, a longer one asks for the rest only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from omniopd.auditing import audit, evidence, similarity_named
from omniopd.build import LocalModel, build_student, build_task, build_teacher, build_teacher_model
from omniopd.config import Recipe, load_recipe
from omniopd.errors import ConfigError, TeacherError
from omniopd.method.forks import schedule
from omniopd.method.targets import fork_targets
from omniopd.models.pieces import whole_characters
from omniopd.models.sampling import sample
from omniopd.records import RolloutRecord
from omniopd.teachers.local import LocalTeacher
from omniopd.training.recording import rollout_records
from omniopd.types import Audit, AuditedRollout, Fork, Prompt, Rollout, Teacher


class Exploration:
    """A recipe's student, teacher and task, loaded; `recipe` may be exchanged for one with other audit settings.

    Args:
        recipe: a recipe, or the name or file of one.
        student, teacher: take the place of the recipe's.

    One answer is looked at at a time: `answer` writes it, `ask` audits places of it.
    """

    def __init__(
        self,
        recipe: Recipe | str = "embedded",
        student: LocalModel | None = None,
        teacher: Teacher | None = None,
        **settings: Any,
    ) -> None:
        self.recipe = load_recipe(recipe, **settings) if isinstance(recipe, str) else recipe
        self.task = build_task(self.recipe)
        self.student = student or build_student(self.recipe)
        local = None if teacher is not None else build_teacher_model(self.recipe)
        self.teacher = teacher if teacher is not None else build_teacher(self.recipe, local)
        self.is_local = isinstance(self.teacher, LocalTeacher)
        self.rollout: Rollout | None = None
        self.seconds_asked = 0.0
        self._audits: dict[tuple[int, int], Audit] = {}
        self._unanswered: dict[int, str] = {}

    def problems(self, count: int = 50) -> list[Prompt]:
        """Held-out problems to choose from."""
        return self.task.prompts(self.recipe.task.test_split, count)

    def answer(self, prompt: Prompt | str, seed: int = 0, temperature: float | None = None) -> RolloutRecord:
        """The student's answer to a problem (or to a text of one's own), with exact entropies; forgets the last one."""
        asked = Prompt("own", ({"role": "user", "content": prompt},)) if isinstance(prompt, str) else prompt
        student = self.recipe.student
        [rollout] = sample(
            self.student.model,
            self.student.tokenizer,
            [asked],
            max_tokens=student.max_tokens,
            temperature=student.temperature if temperature is None else temperature,
            seed=seed,
        )
        self.take(rollout)
        return self.record()

    def take(self, rollout: Rollout) -> None:
        """Look at this rollout from now on."""
        self.rollout, self._audits, self._unanswered = rollout, {}, {}

    def forks(self) -> list[Fork]:
        """Where the recipe's scheduler would audit this answer."""
        rollout, settings = self._at_hand(), self.recipe.audit
        allowed = whole_characters(rollout.pieces)
        return schedule(settings.scheduler, rollout.entropies, settings.forks, settings.chunk_tokens, allowed=allowed)

    def fork_at(self, start: int) -> Fork:
        """The chunk that begins at a token, shorter at the end of the answer. Raises ConfigError outside of it."""
        rollout = self._at_hand()
        if not 0 <= start < len(rollout):
            raise ConfigError(f"token {start} lies outside an answer of {len(rollout)} tokens: choose one from 0 on")
        stop = min(start + self.recipe.audit.chunk_tokens, len(rollout))
        return Fork(start, stop, float(rollout.entropies[start]))

    def ask(self, forks: Sequence[Fork], seed: int = 0) -> RolloutRecord:
        """Ask the teacher about these places and return the answer with all audits so far.

        A fork that has as many texts already is not asked about again. Raises TeacherError where no place got an
        answer; a single one that got none is among the record's `unanswered`.
        """
        rollout, settings = self._at_hand(), self.recipe.audit
        for fork in forks:  # looked at last, shown first where chunks overlap
            if (known := self._audits.pop((fork.start, fork.stop), None)) is not None:
                self._audits[fork.start, fork.stop] = known
        missing = [
            fork
            for fork in forks
            if (known := self._audits.get((fork.start, fork.stop))) is None or known.samples < settings.samples
        ]
        if missing:
            since = time.perf_counter()
            [audited] = audit(
                [rollout],
                [missing],
                self.teacher,
                similarity_named(settings.similarity, settings.power, settings.embedding_model),
                settings.samples,
                tokenizer=self.student.tokenizer,
                seed=seed,
                tokens_per_student_token=self.recipe.teacher.tokens_per_student_token,
            )
            self.seconds_asked = time.perf_counter() - since
            found = {(a.fork.start, a.fork.stop): a for a in audited.audits}
            self._audits = {place: a for place, a in self._audits.items() if place not in found} | found
            self._unanswered |= {u.fork.start: u.problem for u in audited.unanswered}
            for a in audited.audits:
                self._unanswered.pop(a.fork.start, None)
            if audited.unanswered and not audited.audits:
                raise TeacherError(
                    f"the teacher gave no answer at token {missing[0].start}: {audited.unanswered[0].problem}; "
                    "`omniopd teacher check` tells what it can do"
                )
        return self.record()

    def record(self) -> RolloutRecord:
        """The answer with every audit so far, under the recipe's present target, as a training step would record it."""
        rollout, objective = self._at_hand(), self.recipe.objective
        audits = _apart(list(self._audits.values()))
        compared = [self._compared(a) for a in audits]
        audited = AuditedRollout(rollout, tuple(compared))
        targets = fork_targets(
            evidence([audited]), objective.target, "none", objective.concentration, objective.depth
        )
        [made] = rollout_records(
            0, {0: (audited, targets)}, {}, objective.concentration, self.student.tokenizer, objective.anchor_on
        )
        return replace(made, unanswered=tuple(sorted(self._unanswered.items())))

    def with_settings(self, **settings: Any) -> None:
        """Change settings of the recipe, in dotted names (`audit.samples`). Audits of other chunk lengths are kept
        aside until their length is chosen again. Raises ConfigError, and changes nothing then."""
        from omniopd.config import override

        self.recipe = override(self.recipe, [f"{name}={value}" for name, value in settings.items()])

    def _compared(self, known: Audit) -> Audit:
        """The texts at hand under the present similarity."""
        s = self.recipe.audit
        similarity = similarity_named(s.similarity, s.power, s.embedding_model)
        texts, ids = known.texts[: s.samples], known.continuation_ids[: s.samples]
        return replace(known, texts=texts, continuation_ids=ids, similarities=similarity(known.chunk, texts))

    def _at_hand(self) -> Rollout:
        if self.rollout is None:
            raise ConfigError("there is no answer to look at yet: have the student answer a problem first")
        return self.rollout


def _apart(audits: Sequence[Audit]) -> list[Audit]:
    """Audits whose chunks do not overlap, ascending; of those that do, the one looked at last."""
    kept: list[Audit] = []
    for a in reversed(audits):
        if all(a.fork.start >= b.fork.stop or a.fork.stop <= b.fork.start for b in kept):
            kept.append(a)
    return sorted(kept, key=lambda a: a.fork.start)
