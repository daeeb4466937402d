"""The main job: a run from its first evaluation to its last, or from where it was stopped.

    look at all that is known → create the run → measure student and teacher → train → save the student → measure it

Everything is recorded as it happens, and what is recorded is not done again by a resumed run. A run that could not
begin leaves no folder. Names become objects in `build.py`; this file knows their order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omniopd.config import METHODS, Recipe
from omniopd.errors import ConfigError, DataError, Refused, RunError, TeacherError
from omniopd.evaluation.best import read_best
from omniopd.evaluation.callback import AtSteps, EvaluationCallback
from omniopd.evaluation.tables import CONTROL
from omniopd.io import processes
from omniopd.models.pieces import whole
from omniopd.pipeline.build import (
    ANSWERS,
    LocalModel,
    build_student,
    build_task,
    build_teacher,
    build_teacher_model,
    load_student,
)
from omniopd.pipeline.measured import evaluation_plan, is_measurable, measure, task_of
from omniopd.pipeline.methods import build_trainer
from omniopd.pipeline.processes import meet
from omniopd.pipeline.readiness import require_ready
from omniopd.pipeline.saving import from_checkpoint, save_student
from omniopd.records import EvalRecord, RolloutRecord, StepRecord
from omniopd.runs.beside import Others, shared_run
from omniopd.runs.files.claims import claim, release
from omniopd.runs.files.folders import CONTROLS, PROCESSES, UNFINISHED
from omniopd.runs.new_settings import with_new_settings, write_settings
from omniopd.runs.progress import Progress
from omniopd.runs.signals import Stopper, status_kept
from omniopd.runs.store import Run, create_run, open_run, take_up
from omniopd.runs.trackers import Tracker, tracking
from omniopd.tasks.verdict import graded
from omniopd.teachers.spending.ledger import FILE as LEDGER
from omniopd.teachers.spending.ledger import spent
from omniopd.training.checks.threads import Pace, use_threads
from omniopd.training.devices import device_of
from omniopd.training.trl.checkpoints import newest_valid, step_of
from omniopd.training.trl.strategies import require_own
from omniopd.types import Task, Teacher

STUDENT, TEACHER = "student", "teacher"
_log = logging.getLogger(__name__)


def run_training(
    recipe: Recipe,
    folder: str | Path = "runs",
    name: str | None = None,
    show: bool = True,
    merge: bool = False,
    teacher: Teacher | None = None,
) -> Run:
    """A new run of a recipe inside `folder`, to its end; returns it. What cannot work is said first (`readiness.py`).

    `show`: a line of progress. `merge`: save a LoRA student merged into its model, not as an adapter.
    `teacher` takes the place of the recipe's. Ctrl-C and SIGTERM leave a run that `resume_training` continues, as any
    error does; its status says which.
    """

    def make() -> Run:
        require_ready(recipe, teacher, merge)
        return create_run(folder, recipe, name)

    meet(recipe)
    return execute(shared_run(make), show, merge, teacher)


def resume_training(
    path: str | Path,
    show: bool = True,
    merge: bool = False,
    teacher: Teacher | None = None,
    settings: Sequence[str] = (),
) -> Run:
    """Continue a run from its newest whole checkpoint (or from its beginning) to its end; returns it.

    What was recorded after that checkpoint is set aside. `settings` are `key=value` words for what may change
    (`runs/new_settings.py`). Raises RunError for a folder without a run, for a run that another process is executing
    and for one that has finished; ConfigError for settings.
    """
    if processes.count() > 1:
        meet(with_new_settings(open_run(path), settings).recipe)
    return execute(shared_run(lambda: reopen(path, settings, teacher, merge=merge)), show, merge, teacher)


def reopen(
    path: str | Path,
    settings: Sequence[str] = (),
    teacher: Teacher | None = None,
    approve: Callable[[Run], object] = lambda run: None,
    merge: bool = False,
) -> Run:
    """A stopped run, claimed for this process before anything of it is read, for `execute`.

    `approve(run)` may raise what speaks against resuming it; the run is then left as it was. Raises as
    `resume_training` does.
    """
    run = take_up(path)
    try:
        run = with_new_settings(run, settings)
        require_ready(run.recipe, teacher, merge)
        approve(run)
        write_settings(run)
    except BaseException:
        release(run.path)
        raise
    return run


def execute(run: Run, show: bool = True, merge: bool = False, teacher: Teacher | None = None) -> Run:
    """Do everything that a run still lacks, and return it: the common part of `run_training` and `resume_training`.

    Of several processes each does it, with the run of `shared_run`. Raises RunError where another process executes it.
    The folder of a new run that cannot begin is removed.
    """
    main = processes.is_main()
    if main:
        claim(run.path)
    try:
        recipe, others = run.recipe, Others.of(run)
        checkpoint = _newest_own(run.checkpoints)
        done = 0 if checkpoint is None else step_of(checkpoint)
        run.set_aside_after(done)
        is_new = run.is_new and checkpoint is None and not run.evals()
        if main and (missing := run.missing_steps(done)):
            what = "%s: of the %d steps done %d have no record, step %d first"
            _log.warning(what, run.path, done, len(missing), missing[0])
        progress = Progress(recipe.training.steps, done) if show and main else None
        stopper = Stopper(others)
        run.set_status(state="running", step=done, steps=recipe.training.steps, message="starting")
        job = _Job(run, recipe, progress, stopper)
        try:
            with status_kept(run, progress, others), stopper.listening():
                job.prepare(teacher)
                with tracking(run) if main else nullcontext() as job.tracker:
                    job.execute(checkpoint, merge)
        except (ConfigError, DataError, Refused, TeacherError):
            if is_new and not job.has_begun and not any(spend.calls for spend in spent(run.path / LEDGER)):
                run.discard(also=(ANSWERS, LEDGER, PROCESSES))
            raise
    finally:
        if main:
            release(run.path)
    return run


@dataclass(slots=True)
class _Job:
    """A run with what it is made of. Also the trainer's recorder."""

    run: Run
    recipe: Recipe
    progress: Progress | None
    stopper: Stopper
    tracker: Tracker | None = None
    has_begun: bool = False
    pace: Pace = field(default_factory=Pace)
    student: LocalModel = field(init=False)
    task: Task = field(init=False)
    teacher: Teacher | LocalModel | None = None
    trainer: Any = None

    def prepare(self, own_teacher: Teacher | None) -> None:
        """Load and build everything, so that what cannot work is said before anything is measured."""
        recipe = self.recipe
        read_best(self.run.path)  # what a later evaluation could not read
        use_threads(recipe.training.threads)
        self.task = build_task(recipe)
        self.student, local = build_student(recipe), None if own_teacher else build_teacher_model(recipe)
        if local is None and own_teacher is None and METHODS[recipe.method].reads == "texts":
            # One for training and controls alike: the run keeps the answers that it was paid for.
            own_teacher = build_teacher(recipe, folder=self.run.path)
        self.teacher = own_teacher or local
        callbacks = [self.stopper, *self._between(self.student)]
        self.trainer = build_trainer(recipe, self.run.checkpoints, self, self.student, self.teacher, callbacks)

    def execute(self, checkpoint: Path | None, merge: bool) -> None:
        recipe, steps, student, trainer = self.recipe, self.recipe.training.steps, self.student, self.trainer
        self.has_begun = True
        # What is recorded is not measured again; what got lost is, since the student is still untrained.
        if recipe.evaluation.before or 0 in recipe.evaluation.at:
            self._measure(STUDENT, student, 0)
        if isinstance(self.teacher, LocalModel) and recipe.evaluation.before and is_measurable(recipe):
            self._measure(TEACHER, self.teacher, 0)
        trained = self._trained("training", trainer, checkpoint, recipe)
        # Always written again: a checkpoint knows whether it is whole, a model folder does not.
        with whole(trained):
            processes.on_main(lambda: save_student(trained, student.tokenizer, self.run.student, merge))
        after = load_student(recipe, self.run.student)
        self._measure(STUDENT, LocalModel(student.name, after, student.tokenizer), steps)
        for name in recipe.evaluation.controls:
            self._control(name, self.teacher)

    def _trained(self, what: str, trainer: Any, checkpoint: Path | None, recipe: Recipe) -> Any:
        """The student after its last step: trained up to it, or, where the run was stopped after it, as saved then."""
        steps = recipe.training.steps
        if checkpoint is not None and step_of(checkpoint) == steps:
            return from_checkpoint(trainer.accelerator.unwrap_model(trainer.model), checkpoint, recipe)
        self._doing(what)
        with self.stopper.patiently():
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        if trainer.state.global_step < steps:
            raise RunError(
                f"training ended after step {trainer.state.global_step} of {steps}: the data ran out; give more "
                "prompts (task.prompts), or train fewer steps (training.steps)"
            )
        return trainer.accelerator.unwrap_model(trainer.model)

    def append(self, record: StepRecord | EvalRecord) -> None:
        self.run.append(record)
        if isinstance(record, StepRecord):
            self.run.set_status(step=record.step, message="training")
            self.pace.look(record.step, record.seconds)
        if self.tracker:
            self.tracker.show(record)
        if self.progress:
            self.progress.show(record)

    def write_rollouts(self, step: int, records: Sequence[RolloutRecord]) -> None:
        # A program is graded by running it: too slow for what is only looked at.
        task = None if self.recipe.task.name == "code" else self.task
        self.run.write_rollouts(step, records if task is None else [graded(task, record) for record in records])

    def _control(self, name: str, teacher: Teacher | LocalModel | None) -> None:
        """Train and measure a control: this training with one thing taken away, from its own checkpoints if it
        was stopped; one answer a problem."""
        who, steps, e = CONTROL + name, self.recipe.training.steps, self.recipe.evaluation
        if processes.on_main(lambda: len([r for r in self.run.evals() if r.model == who])) == len(e.temperatures):
            return
        recipe = replace(self.recipe, objective=replace(self.recipe.objective, control=name))
        folder = self.run.path / CONTROLS / name
        checkpoint = _newest_own(folder)
        student = build_student(recipe)
        trainer = build_trainer(recipe, folder, None, student, teacher, [self.stopper])
        model = self._trained(f"training the {who}", trainer, checkpoint, recipe).to(device_of(recipe))
        trained = LocalModel(student.name, model.eval(), student.tokenizer)
        with whole(model):
            for temperature in e.temperatures:
                self._evaluate(who, trained, steps, temperature, 1)

    def _between(self, student: LocalModel) -> list[AtSteps | EvaluationCallback]:
        """The evaluations of `evaluation.at`, as at the end, and of `evaluation.every`: fewer problems, the hottest
        temperature only, one answer each."""
        e = self.recipe.evaluation

        def measure_now(model: Any, step: int) -> None:
            # Not kept half done: a step that is trained again is measured again.
            self._measure(STUDENT, LocalModel(student.name, model, student.tokenizer), step, goes_on=False)

        # The last step is the run's end, which is measured anyway.
        callbacks: list[AtSteps | EvaluationCallback] = [AtSteps(set(e.at) - {self.recipe.training.steps}, measure_now)]
        if not e.every:
            return callbacks
        callback = EvaluationCallback(
            build_task(self.recipe),
            student.tokenizer,
            e.every,
            problems=e.every_problems,
            temperature=max(e.temperatures),
            split=e.every_split or self.recipe.task.test_split,
            seed=self.recipe.seed,
            max_tokens=self.recipe.student.max_tokens,
            batch=e.batch,
            best_in=self.run.path,
            on_record=self.append,
            progress=self._counting(STUDENT),
        )
        return [*callbacks, callback]

    def _measure(self, who: str, local: LocalModel, step: int, goes_on: bool = True) -> None:
        for temperature, samples in evaluation_plan(self.recipe):
            count = samples if who == STUDENT else 1
            self._evaluate(who, local, step, temperature, count, goes_on)

    def _evaluate(
        self, who: str, local: LocalModel, step: int, temperature: float, samples: int, goes_on: bool = True
    ) -> None:
        """Measure once. One that was stopped in the middle goes on with what it lacks, if `goes_on`."""
        problems = self.recipe.evaluation.problems
        wanted = who, step, temperature, samples, self.recipe.task.test_split
        if processes.on_main(
            lambda: any(
                (e.model, e.step, e.temperature, e.samples, e.split) == wanted and problems in (0, len(e.problems))
                for e in self.run.evals()
            )
        ):
            return
        self._doing(f"measuring the {who}")
        keep = self.run.path / UNFINISHED if goes_on and processes.is_main() else None
        task, counting = task_of(self.recipe, sees_more=who == TEACHER), self._counting(who)
        found = measure(
            who, local, task, self.recipe, temperature, samples, problems, step, progress=counting, keep=keep
        )
        self.append(found)
        if keep is not None:
            keep.unlink(missing_ok=True)

    def _counting(self, who: str) -> Callable[[int, int], None]:
        return lambda done, every: self._doing(f"measuring the {who}: {done:,} of {every:,} answers")

    def _doing(self, what: str) -> None:
        self.run.set_status(message=what)
        if self.progress:
            self.progress.doing(what)


def _newest_own(folder: Path) -> Path | None:
    """The checkpoint to go on from. Raises ConfigError where these processes cannot read it."""

    def found() -> Path | None:
        checkpoint = newest_valid(folder)
        if checkpoint is not None:
            require_own(checkpoint)
        return checkpoint

    return processes.on_main(found)
