"""The main job: a run from its first evaluation to its last, and from where it was stopped.

    create the run → measure student and teacher → train → save the student → measure it again

Everything is written as records while it happens; what is recorded already is not done again by a resumed run. Names
become objects in `build.py`; this file knows their order.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omniopd.build import LocalModel, build_student, build_task, build_teacher, build_teacher_model, device_of
from omniopd.config import Recipe
from omniopd.errors import ConfigError, OmniOPDError, RunError
from omniopd.evaluation.callback import AtSteps, EvaluationCallback
from omniopd.evaluation.evaluate import evaluate
from omniopd.evaluation.tables import CONTROL
from omniopd.methods import build_trainer
from omniopd.models.loading import load_model
from omniopd.progress import Progress
from omniopd.records import EvalRecord, RolloutRecord, StepRecord
from omniopd.runs.status import GOING_ON
from omniopd.runs.store import Run, create_run, open_run
from omniopd.stopping import Stopper
from omniopd.tracking import Tracker, require_tracker, tracking
from omniopd.training.checkpoints import newest_valid, step_of
from omniopd.training.threads import use_threads
from omniopd.types import Task, Teacher

STUDENT, TEACHER = "student", "teacher"
UNFINISHED = "evaluating.jsonl"  # problems that an evaluation has finished, until all are
ASKS_FOR_TEXTS = ("omniopd", "continuations", "sft")


def run_training(
    recipe: Recipe,
    folder: str | Path = "runs",
    name: str | None = None,
    command: Sequence[str] | None = None,
    show: bool = True,
    merge: bool = False,
    teacher: Teacher | None = None,
) -> Run:
    """A new run of a recipe inside `folder`, to its end; returns it.

    `show`: a line of progress. `merge`: save a LoRA student merged into its model, not as an adapter.
    `teacher` takes the place of the recipe's. Ctrl-C and SIGTERM leave a run that `resume_training` continues, as any
    error does; its status says which.
    """
    require_tracker(recipe.training.report_to)
    return carry_out(create_run(folder, recipe, name, command), show, merge, teacher)


def resume_training(path: str | Path, show: bool = True, merge: bool = False, teacher: Teacher | None = None) -> Run:
    """Continue a run from its newest whole checkpoint (or from its beginning) to its end; returns it.

    What was recorded after that checkpoint is set aside. Raises RunError for a folder that is no run, for a run that is
    still going on and for one that has finished.
    """
    run = open_run(path)
    if run.state in GOING_ON:
        raise RunError(f"{run.path} is being run by process {run.status.pid}: stop that one first, or wait for it")
    if run.state == "finished":
        raise RunError(f"{run.path} has finished: there is nothing to resume; start a new run")
    return carry_out(run, show, merge, teacher)


def carry_out(run: Run, show: bool = True, merge: bool = False, teacher: Teacher | None = None) -> Run:
    """Everything that a run still lacks; `run_training` and `resume_training` come here. Returns the run."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("this command runs in one process: for several, use OmniOPDTrainer under accelerate launch")
    recipe = run.recipe
    checkpoint = newest_valid(run.checkpoints)
    done = 0 if checkpoint is None else step_of(checkpoint)
    run.set_aside_after(done)
    progress = Progress(recipe.training.steps, done) if show else None
    stopper = Stopper()
    run.set_status(state="running", step=done, steps=recipe.training.steps, message="starting")
    with _status_kept(run, progress), tracking(run) as tracker, stopper.listening():
        _Job(run, recipe, progress, stopper, tracker).carry_out(checkpoint, merge, teacher)
    return run


def evaluation_plan(recipe: Recipe) -> list[tuple[float, int]]:
    """Temperatures with how many answers a problem gets: all `samples` at the hottest one (pass@k is read there), an
    eighth of them at the others, one where sampling is greedy."""
    e = recipe.evaluation
    hottest = max(e.temperatures, default=0.0)
    return [(t, 1 if t == 0 else e.samples if t == hottest else max(1, e.samples // 8)) for t in e.temperatures]


def measured(
    who: str,
    local: LocalModel,
    task: Task,
    recipe: Recipe,
    temperature: float,
    samples: int,
    problems: int | None = None,
    step: int = 0,
    **more: Any,
) -> EvalRecord:
    """`local` on the held-out problems of a recipe's task: `problems` of them (None: `evaluation.problems`; 0: all).

    `more` is `evaluate`'s: `progress` and `on_results` are told what is done, `keep` is a file to go on from.
    """
    return evaluate(
        local.model,
        local.tokenizer,
        task,
        samples=samples,
        temperature=temperature,
        limit=(recipe.evaluation.problems if problems is None else problems) or None,
        seed=recipe.seed,
        split=recipe.task.test_split,
        max_tokens=recipe.student.max_tokens,
        batch=recipe.evaluation.batch,
        name=who,
        step=step,
        **more,
    )


@dataclass(slots=True)
class _Job:
    """A run with what it is made of. Also the trainer's recorder."""

    run: Run
    recipe: Recipe
    progress: Progress | None
    stopper: Stopper
    tracker: Tracker | None = None

    def carry_out(self, checkpoint: Path | None, merge: bool, own_teacher: Teacher | None) -> None:
        recipe, steps = self.recipe, self.recipe.training.steps
        use_threads(recipe.training.threads)
        student, teacher = build_student(recipe), None if own_teacher else build_teacher_model(recipe)
        if teacher is None and own_teacher is None and recipe.method in ASKS_FOR_TEXTS:
            # One for training and controls alike: what it was paid for stands in the run.
            own_teacher = build_teacher(recipe, folder=self.run.path)
        # Built before anything is measured: what cannot work is said in the first seconds.
        trainer = build_trainer(
            recipe, self.run.checkpoints, self, student, own_teacher or teacher, [self.stopper, *self._between(student)]
        )
        if checkpoint is None and (recipe.evaluation.before or 0 in recipe.evaluation.at):
            self._measure(STUDENT, student, 0)
        if teacher is not None and recipe.evaluation.before:
            self._measure(TEACHER, teacher, 0)
        if checkpoint is None or step_of(checkpoint) < steps:
            self._doing("training")
            with self.stopper.patiently():
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
            if trainer.state.global_step < steps:
                raise RunError(
                    f"training ended after step {trainer.state.global_step} of {steps}: the data ran out; give more "
                    "prompts (task.prompts), or train fewer steps (training.steps)"
                )
        if not self.run.student.exists():
            trained = trainer.accelerator.unwrap_model(trainer.model)
            if checkpoint is not None and step_of(checkpoint) == steps:
                trained = _from_checkpoint(trained, checkpoint, recipe)
            save_student(trained, student.tokenizer, self.run.student, merge)
        after = load_model(str(self.run.student), recipe.student.dtype, device_of(recipe))
        self._measure(STUDENT, LocalModel(student.name, after, student.tokenizer), steps)
        for name in recipe.evaluation.controls:
            self._control(name, own_teacher or teacher)

    def append(self, record: StepRecord | EvalRecord) -> None:
        self.run.append(record)
        if isinstance(record, StepRecord):
            self.run.set_status(step=record.step, message="training")
        if self.tracker:
            self.tracker.show(record)
        if self.progress:
            self.progress.show(record)

    def write_rollouts(self, step: int, records: Sequence[RolloutRecord]) -> None:
        self.run.write_rollouts(step, records)

    def _control(self, name: str, teacher: Teacher | LocalModel | None) -> None:
        """The same training with one thing taken away, from its own checkpoints if it was stopped; one answer a
        problem."""
        who, steps, e = CONTROL + name, self.recipe.training.steps, self.recipe.evaluation
        if len([r for r in self.run.evals() if r.model == who]) == len(e.temperatures):
            return
        recipe = replace(self.recipe, objective=replace(self.recipe.objective, control=name))
        folder = self.run.path / "controls" / name
        checkpoint = newest_valid(folder)
        student = build_student(recipe)
        self._doing(f"training the {who}")
        trainer = build_trainer(recipe, folder, None, student, teacher, [self.stopper])
        if checkpoint is None or step_of(checkpoint) < steps:
            with self.stopper.patiently():
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        model = trainer.accelerator.unwrap_model(trainer.model)
        if checkpoint is not None and step_of(checkpoint) == steps:
            model = _from_checkpoint(model, checkpoint, recipe).to(device_of(recipe))
        trained = LocalModel(student.name, model.eval(), student.tokenizer)
        for temperature in e.temperatures:
            self._evaluate(who, trained, steps, temperature, 1)

    def _between(self, student: LocalModel) -> list[AtSteps | EvaluationCallback]:
        """The evaluations of `evaluation.at`, as at the end, and of `evaluation.every`: fewer problems, the hottest
        temperature only, one answer each."""
        e = self.recipe.evaluation

        def measure(model: Any, step: int) -> None:
            # Not kept half done: a step that is trained again is measured again.
            self._measure(STUDENT, LocalModel(student.name, model, student.tokenizer), step, goes_on=False)

        # The last step is the run's end, which is measured anyway.
        callbacks: list[AtSteps | EvaluationCallback] = [AtSteps(set(e.at) - {self.recipe.training.steps}, measure)]
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
        if any(
            (e.model, e.step, e.temperature, e.samples, e.split)
            == (who, step, temperature, samples, self.recipe.task.test_split)
            and problems in (0, len(e.problems))
            for e in self.run.evals()
        ):
            return
        self._doing(f"measuring the {who}")
        keep = self.run.path / UNFINISHED if goes_on else None
        task, counting = build_task(self.recipe), self._counting(who)
        found = measured(
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


def save_student(model: Any, tokenizer: Any, folder: Path, merge: bool = False) -> None:
    """A plain folder that `from_pretrained` loads; it appears whole or not at all. `merge`: LoRA into the weights."""
    if merge and hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    beside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
    except OSError as error:
        raise RunError(
            f"{folder} could not be written ({error.strerror or error}): free some space and resume the run, whose "
            "last checkpoint holds the same weights"
        ) from error
    os.replace(beside, folder)


def _from_checkpoint(model: Any, checkpoint: Path, recipe: Recipe) -> Any:
    """The trained student of a run that was stopped between its last step and its end."""
    if recipe.student.lora_rank:
        from peft import PeftModel

        return PeftModel.from_pretrained(model.unload(), checkpoint)
    return load_model(str(checkpoint), dtype=recipe.student.dtype)


@contextmanager
def _status_kept(run: Run, progress: Progress | None) -> Iterator[None]:
    """However a run ends, its status says how; an error goes on to the caller."""
    state, message = "finished", ""
    try:
        yield
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    except BaseException as error:
        state = "failed"
        message = str(error) if isinstance(error, OmniOPDError) else f"{type(error).__name__}: {error}"
        raise
    finally:
        # On a full disk the status stays as it was; the error says what happened.
        with suppress(RunError):
            run.set_status(state=state, message=message)
        if progress:
            progress.close(state)
