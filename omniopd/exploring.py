"""Looking before training: a student, a teacher and a task at hand, one answer at a time.

Sampling and auditing are the very functions of a training step; what comes back are records, so that a view shows what
training would do. A teacher's texts are remembered: the second look asks nobody, a longer one asks for the rest only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from omniopd.auditing import audit, evidence, similarity_named
from omniopd.build import LocalModel, build_student, build_task, build_teacher, build_teacher_model
from omniopd.config import Recipe, load_recipe
from omniopd.errors import ConfigError, TeacherError
from omniopd.method.forks import schedule, teacher_tokens
from omniopd.method.targets import fork_targets
from omniopd.models.pieces import whole_characters
from omniopd.models.sampling import sample
from omniopd.records import RolloutRecord
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.prices import price_for
from omniopd.training.recording import rollout_records
from omniopd.types import Audit, AuditedRollout, Fork, Prompt, Rollout, Teacher, Usage


@dataclass(frozen=True, slots=True)
class Asking:
    """What asking would take: a teacher that runs here takes `seconds` (None: not measured yet), another one tokens and
    dollars (None: nobody knows the price)."""

    forks: int
    texts: int
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0
    seconds: float | None = 0.0

    @property
    def is_free(self) -> bool:
        return self.texts == 0

    @property
    def is_paid(self) -> bool:
        return self.input_tokens > 0

    def __str__(self) -> str:
        if self.is_free:
            return "free: at hand"
        if not self.is_paid:
            return "local seconds" if self.seconds is None else f"about {max(0.1, self.seconds):.1f} s here"
        money = "price unknown" if self.usd is None else f"${self.usd:.4f}"
        return f"≈ {self.input_tokens:,} teacher tokens read + {self.output_tokens:,} written, {money}"


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
        self._seconds: float | None = None  # the last asking took, per text
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
        missing = self._missing(forks)
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
            self._seconds = (time.perf_counter() - since) / (len(missing) * settings.samples)
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

    def price(self, forks: Sequence[Fork]) -> Asking:
        """What asking about these places would take; nothing where the texts are at hand."""
        rollout, settings = self._at_hand(), self.recipe.audit
        missing = self._missing(forks)
        texts = len(missing) * settings.samples
        if self.is_local or not missing:
            seconds = 0.0 if not missing else None if self._seconds is None else texts * self._seconds
            return Asking(len(missing), texts, seconds=seconds)
        # The student's tokens stand for the teacher's; each text is taken to be a call that reads the prefix.
        read = settings.samples * sum(len(rollout.prompt_ids) + fork.start for fork in missing)
        ratio = self.recipe.teacher.tokens_per_student_token
        written = settings.samples * sum(teacher_tokens(fork.stop - fork.start, ratio) for fork in missing)
        price = price_for(self.recipe.teacher)
        usd = None if price is None else price.of(Usage(read, written))
        return Asking(len(missing), texts, read, written, usd)

    def record(self) -> RolloutRecord:
        """The answer with every audit so far of the recipe's present chunk length, under its present target, as a
        training step would record it."""
        rollout, objective, length = self._at_hand(), self.recipe.objective, self.recipe.audit.chunk_tokens
        of_length = [a for (start, stop), a in self._audits.items() if stop == min(start + length, len(rollout))]
        audits = _apart(of_length)
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

    def _missing(self, forks: Sequence[Fork]) -> list[Fork]:
        wanted = self.recipe.audit.samples
        at_hand = {place for place, known in self._audits.items() if known.samples >= wanted}
        return [fork for fork in forks if (fork.start, fork.stop) not in at_hand]

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
