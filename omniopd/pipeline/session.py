"""Exploring before training: a student, a teacher and a task, loaded; one answer at a time.

Answers are sampled and audited by the functions of a training step and returned as records, so that a view shows what
training would do. A session remembers its teacher's texts: a second look is free, a look at more forks or samples asks
for the rest only, and its price is known before.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omniopd.auditing import audit, evidence, made_of, similarity_named
from omniopd.config import Recipe, check, load_recipe, with_settings
from omniopd.costs.request import CostEstimate, Unasked, inside, quote
from omniopd.errors import ConfigError, TeacherError
from omniopd.method.tensors import exact_similarity, fork_targets, schedule
from omniopd.models.sampling import sample
from omniopd.models.text import rendering
from omniopd.models.text.chat import about_tokens
from omniopd.models.text.token_text import whole_characters
from omniopd.pipeline.build import (
    ANSWERS,
    LocalModel,
    build_student,
    build_task,
    build_teacher,
    build_teacher_model,
    is_one_checkpoint,
    require_teacher,
    seeing_more,
)
from omniopd.pipeline.scans import Scans
from omniopd.records import RolloutRecord
from omniopd.tasks.verdict import graded
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.cache.identified import Identified
from omniopd.teachers.hosted.calls import ObservableTeacher
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.privileged import as_shown, sees_more
from omniopd.teachers.spending.prices import price_for
from omniopd.teachers.watched import WatchedTeacher
from omniopd.training.recording import rollout_records
from omniopd.types import Audit, AuditedRollout, Fork, Prompt, Rollout, Similarity, Teacher

_LOADED = ("student.model", "student.dtype", "student.lora_rank", "student.load_in_4bit", "training.device")
# Settings of a teacher that change what its answers cost, not the answers.
_COSTS = ("tokens_per_student_token", "ask_above_usd", "usd_per_million_input", "usd_per_million_output")


class Session:
    """A recipe's student, teacher and task, loaded: `answer` has the student write, `ask` audits places of the answer,
    `ask_everywhere` all of it, as a training step would.

    Args:
        recipe: a recipe, or the name or file of one.
        student, teacher: replace the recipe's.
    """

    def __init__(
        self,
        recipe: Recipe | str = "embedded",
        student: LocalModel | None = None,
        teacher: Teacher | None = None,
        **settings: Any,
    ) -> None:
        self.recipe = load_recipe(recipe, **settings) if isinstance(recipe, str) else check(recipe)
        rendering.begin()  # while the student is loaded
        self.task = build_task(self.recipe)
        if teacher is None:
            require_teacher(self.recipe)  # before anything is loaded
        self._student_is_the_recipes = student is None
        self.student = student or build_student(self.recipe)
        self._folder = Path(tempfile.mkdtemp(prefix="omniopd-exploration-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._was_given = teacher is not None
        self._local: LocalModel | None = None
        self._loaded: tuple[str, str] | None = None
        self._use(seeing_more(self.recipe, teacher) if teacher is not None else self._built(self.recipe))
        self.tell: Callable[[str], None] = lambda words: None  # how far an answer or a question is, from any thread
        self.rollout: Rollout | None = None
        self._seconds: float | None = None  # per text, the last time
        self._scan_seconds: float | None = None
        self._audits: dict[tuple[int, int], Audit] = {}
        self._unanswered: dict[int, str] = {}
        self._scans: Scans | None = None

    def problems(self, count: int = 50) -> list[Prompt]:
        """Held-out problems to choose from."""
        return self.task.prompts(self.recipe.task.test_split, count)

    def answer(self, prompt: Prompt | str, seed: int = 0, temperature: float | None = None) -> RolloutRecord:
        """The student's answer to a problem, or to any text, with exact entropies; replaces the last one.

        Raises DataError for one that lacks what the teacher is to see.
        """
        asked = Prompt("own", ({"role": "user", "content": prompt},)) if isinstance(prompt, str) else prompt
        as_shown(self.teacher, asked)
        student, drawn = self.recipe.student, itertools.count(1)
        [rollout] = sample(
            self.student.model,
            self.student.tokenizer,
            [asked],
            max_tokens=student.max_tokens,
            temperature=student.temperature if temperature is None else temperature,
            seed=seed,
            watch=lambda rows, logits: self.tell(f"token {next(drawn):,} of at most {student.max_tokens:,}"),
        )
        self.take(rollout)
        return self.record()

    def take(self, rollout: Rollout) -> None:
        """Explore this rollout from now on."""
        self.rollout, self._audits, self._unanswered = rollout, {}, {}
        self._scans = Scans(rollout, self.student.tokenizer)

    def forks(self) -> list[Fork]:
        """Where the recipe's scheduler would audit this answer; nowhere in particular in a scan."""
        return self._forks(self.recipe)

    def fork_at(self, start: int) -> Fork:
        """The chunk that begins at a token, shorter at the end of the answer. Raises ConfigError outside of it."""
        rollout = self._current()
        if not 0 <= start < len(rollout):
            raise ConfigError(f"token {start} lies outside an answer of {len(rollout)} tokens: choose one from 0 on")
        stop = min(start + self.recipe.audit.chunk_tokens, len(rollout))
        return Fork(start, stop, float(rollout.entropies[start]))

    def ask(self, forks: Sequence[Fork], seed: int = 0) -> RolloutRecord:
        """Audit these places and return the answer with all its audits.

        A fork that has enough texts is not asked about again. Raises TeacherError where no place got an answer; where
        some did, the others are in the record's `unanswered`.
        """
        for fork in forks:  # of overlapping chunks the last one asked about is shown
            self._scanned().newer.add((fork.start, fork.stop))
            if (known := self._audits.pop((fork.start, fork.stop), None)) is not None:
                self._audits[fork.start, fork.stop] = known
        settings, missing = self.recipe.audit, self._missing(forks, self.recipe)
        if missing:
            since, price = time.perf_counter(), self.price(missing, seed)
            similarity = similarity_named(settings.similarity, settings.power, settings.embedding_model)
            teacher = WatchedTeacher(self._asked, self.tell, price.texts)
            audited = self._audited(missing, self.recipe, teacher, similarity, seed)
            if price.texts:
                self._seconds = (time.perf_counter() - since) / price.texts
            found = {(a.fork.start, a.fork.stop): a for a in audited.audits}
            self._audits = {place: a for place, a in self._audits.items() if place not in found} | found
            self._unanswered |= {u.fork.start: u.problem for u in audited.unanswered}
            for a in audited.audits:
                self._unanswered.pop(a.fork.start, None)
            if audited.unanswered and not audited.audits:
                raise _no_answer(missing[0].start, audited.unanswered[0].problem)
        return self.record()

    def ask_everywhere(self, seed: int = 0) -> RolloutRecord:
        """Audit the answer as the recipe does: at all its forks, or in a scan, whose runs are then its audits.

        Raises TeacherError where no place got an answer; a scan that breaks keeps what was said before, and goes on
        from there the next time.
        """
        if self.recipe.audit.way != "scan":
            return self.ask(self.forks(), seed)
        scans, since = self._scanned(), time.perf_counter()
        is_new = not scans.is_whole(self.recipe, seed)
        # A teacher that runs here reads the answer once and is not asked for texts at all.
        teacher = self.teacher if self.is_local else WatchedTeacher(self._asked, self.tell)
        audited = scans.carry_out(self.recipe, teacher, seed)
        if is_new and (calls := sum(a.continuations.usage.calls for a in audited.audits)):
            self._scan_seconds = (time.perf_counter() - since) / calls
        if audited.unanswered and not audited.audits:
            raise _no_answer(audited.unanswered[0].fork.start, audited.unanswered[0].problem)
        return self.record()

    def price(self, forks: Sequence[Fork], seed: int = 0) -> CostEstimate:
        """What `ask` would take for these places; nothing where their texts are known."""
        return self._price(forks, self.recipe, seed)

    def price_everywhere(self, seed: int = 0) -> CostEstimate:
        """What `ask_everywhere` would take: of a scan a guess, since its texts end where they part from the answer."""
        return self._price_everywhere(self.recipe, seed)

    def price_with(self, **settings: Any) -> CostEstimate:
        """What asking everywhere would take under other settings, given as in `with_settings`."""
        return self._price_everywhere(self._with(settings), 0)

    def record(self) -> RolloutRecord:
        """The answer with its audits of the recipe's chunk length, under its target, as a training step records it.

        Under a scan they are its runs, and the forks asked about since.
        """
        rollout, objective, length = self._current(), self.recipe.objective, self.recipe.audit.chunk_tokens
        of_length = {p: a for p, a in self._audits.items() if p[1] == min(p[0] + length, len(rollout))}
        unanswered = dict(self._unanswered)
        shown = [*of_length.values()]
        if (scanned := self._scanned().under(self.recipe)) is not None:
            shown = [*scanned.audits, *(a for place, a in of_length.items() if place in self._scanned().newer)]
            unanswered |= {u.fork.start: u.problem for u in scanned.unanswered}
        audits = _without_overlaps(shown)
        compared = [a if a.run else self._compared(a) for a in audits]
        audited = AuditedRollout(rollout, tuple(compared))
        targets = fork_targets(
            evidence([audited]), objective.target, "none", objective.concentration, objective.depth
        )
        targets = made_of([audited], targets)
        [made] = rollout_records(
            0, {0: (audited, targets)}, {}, objective.concentration, self.student.tokenizer, objective.anchor_on
        )
        return graded(self.task, replace(made, unanswered=tuple(sorted(unanswered.items()))))

    def with_settings(self, **settings: Any) -> None:
        """Change settings of the recipe, by dotted names (`audit.samples`). Audits of other chunk lengths come back
        with their length; another teacher is asked anew. Raises ConfigError, and changes nothing, for a setting that is
        refused and for another student, which needs a session of its own."""
        other = self._with(settings)
        if other.task != self.recipe.task:
            self.task = build_task(other)
        if self._as_costed(other) != self.recipe.teacher:
            self._use(self._built(other))
            self._seconds, self._scan_seconds, self._audits, self._unanswered = None, None, {}, {}
            if self.rollout is not None:
                self._scans = Scans(self.rollout, self.student.tokenizer)
        elif not self._was_given and (hosted := inside(self._memory, HostedTeacher)) is not None:
            hosted.endpoint.price = price_for(other.teacher)
        self.recipe = other

    def _with(self, settings: Mapping[str, Any]) -> Recipe:
        named = {name.replace("__", "."): value for name, value in settings.items()}
        other = with_settings(self.recipe, named, "the exploration's settings")
        for name in named:
            if name in _LOADED:
                raise ConfigError(
                    f"{name} is {named[name]!r}, and the student is loaded already: explore another recipe"
                )
        if self._was_given and self._as_costed(other) != self.recipe.teacher:
            changed = ", ".join(name for name in named if name.startswith("teacher."))
            raise ConfigError(f"{changed} cannot be changed where the teacher was given as an object: give another one")
        return other

    def _as_costed(self, other: Recipe) -> Any:
        """The other recipe's teacher at this one's costs."""
        return replace(other.teacher, **{name: getattr(self.recipe.teacher, name) for name in _COSTS})

    def _built(self, recipe: Recipe) -> Teacher:
        """The recipe's teacher; its network is loaded once."""
        loaded = recipe.teacher.model, recipe.teacher.dtype
        if self._loaded != loaded:
            # Nobody learns here: a student that is its own teacher is loaded once.
            shared = self._student_is_the_recipes and is_one_checkpoint(recipe)
            self._local, self._loaded = self.student if shared else build_teacher_model(recipe), loaded
        return build_teacher(recipe, self._local)

    def _use(self, teacher: Teacher) -> None:
        self.teacher, self.is_local = teacher, inside(teacher, LocalTeacher) is not None
        known = inside(teacher, CachedTeacher)
        observable = teacher if isinstance(teacher, ObservableTeacher) else Identified(teacher)
        self._memory = CachedTeacher(observable, self._folder / ANSWERS) if known is None else known
        self._asked: Teacher = self._memory if known is None else teacher

    def _forks(self, recipe: Recipe) -> list[Fork]:
        rollout, settings = self._current(), recipe.audit
        if settings.way == "scan":
            return []
        allowed = whole_characters(rollout.pieces)
        return schedule(settings.scheduler, rollout.entropies, settings.forks, settings.chunk_tokens, allowed=allowed)

    def _audited(
        self, forks: Sequence[Fork], recipe: Recipe, teacher: Teacher, similarity: Similarity, seed: int
    ) -> AuditedRollout:
        [audited] = audit(
            [self._current()],
            [forks],
            teacher,
            similarity,
            recipe.audit.samples,
            tokenizer=self.student.tokenizer,
            seed=seed,
            tokens_per_student_token=recipe.teacher.tokens_per_student_token,
        )
        return audited

    def _price(self, forks: Sequence[Fork], recipe: Recipe, seed: int) -> CostEstimate:
        unasked = Unasked()
        self._audited(self._missing(forks, recipe), recipe, unasked, exact_similarity, seed)
        rollout = self._current()
        starts = {"".join(rollout.pieces[: fork.start]): fork.start for fork in forks}
        question = self._question_tokens()
        read = [question + starts[request.prefix] for request in unasked.requests]
        return quote(unasked.requests, read, self._memory, recipe, self._seconds)

    def _question_tokens(self) -> int:
        """How long the question is as the teacher sees it, in the student's tokens."""
        rollout = self._current()
        if not sees_more(self.teacher):
            return len(rollout.prompt_ids)
        own, shown = rollout.prompt.messages, as_shown(self.teacher, rollout.prompt).messages
        return about_tokens(self.student.tokenizer, own, shown)

    def _price_everywhere(self, recipe: Recipe, seed: int) -> CostEstimate:
        if recipe.audit.way == "scan":
            return self._scanned().price(recipe, self._memory, self._scan_seconds, seed, self._question_tokens())
        return self._price(self._forks(recipe), recipe, seed)

    def _missing(self, forks: Sequence[Fork], recipe: Recipe) -> list[Fork]:
        wanted = recipe.audit.samples
        known = {place for place, audit in self._audits.items() if audit.samples >= wanted}
        return [fork for fork in forks if (fork.start, fork.stop) not in known]

    def _compared(self, known: Audit) -> Audit:
        """An audit's texts under the recipe's similarity."""
        s = self.recipe.audit
        similarity = similarity_named(s.similarity, s.power, s.embedding_model)
        texts, ids = known.texts[: s.samples], known.continuation_ids[: s.samples]
        return replace(known, texts=texts, continuation_ids=ids, similarities=similarity(known.chunk, texts))

    def _scanned(self) -> Scans:
        if self._scans is None:
            raise ConfigError("there is no answer to look at yet: have the student answer a problem first")
        return self._scans

    def _current(self) -> Rollout:
        return self._scanned().rollout


def _no_answer(token: int, problem: str) -> TeacherError:
    return TeacherError(
        f"the teacher gave no answer at token {token}: {problem}; `omniopd teacher check` tells what it can do"
    )


def _without_overlaps(audits: Sequence[Audit]) -> list[Audit]:
    """Audits whose chunks do not overlap, ascending; of those that do, the last one asked about."""
    kept: list[Audit] = []
    for a in reversed(audits):
        if all(a.fork.start >= b.fork.stop or a.fork.stop <= b.fork.start for b in kept):
            kept.append(a)
    return sorted(kept, key=lambda a: a.fork.start)
