"""A recipe's `method` as a trainer: OmniOPD, or a baseline on the same data, settings, records and checkpoints.

The baselines are TRL's own trainers. Knows no files of a run: records go to a recorder.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniopd.config import Recipe
from omniopd.errors import ConfigError
from omniopd.models.loading import lora_config
from omniopd.pipeline.build import (
    LocalModel,
    build_probes,
    build_student,
    build_task,
    build_teacher,
    build_teacher_model,
    build_train_set,
    device_of,
)
from omniopd.tasks.rows import require_answers
from omniopd.teachers.model_traits import EMBEDDED, LOCAL

if TYPE_CHECKING:
    from transformers import Trainer

    from omniopd.training.recording import Recorder
    from omniopd.training.trainer import OmniOPDConfig
    from omniopd.types import Teacher


@dataclass(slots=True)
class _Parts:
    """What every method starts from. `teacher` is None until a method needs one that is not given."""

    recipe: Recipe
    output: Path
    recorder: Recorder | None
    student: LocalModel
    teacher: LocalModel | Teacher | None

    @property
    def shared(self) -> dict[str, Any]:
        """What every trainer of TRL's takes."""
        rank = self.recipe.student.lora_rank
        return {
            "model": self.student.model,
            "processing_class": self.student.tokenizer,
            "peft_config": lora_config(rank, self.recipe.student.lora_alpha) if rank else None,
        }

    @property
    def ours(self) -> dict[str, Any]:
        """What the trainers on `OmniOPDTrainer` take beside."""
        return self.shared | {
            "args": trainer_settings(self.recipe, self.output),
            "train_dataset": build_train_set(self.recipe),
            "recorder": self.recorder,
            "probes": build_probes(self.recipe) if self.recorder is not None else (),
        }

    def asked(self) -> Teacher:
        """Who is asked for texts."""
        if self.teacher is None or isinstance(self.teacher, LocalModel):
            return build_teacher(self.recipe, self.teacher)
        return self.teacher

    def seen(self) -> LocalModel:
        """Whose logits are seen."""
        local = self.teacher if isinstance(self.teacher, LocalModel) else build_teacher_model(self.recipe)
        if local is None:
            raise ConfigError(
                f'method is "{self.recipe.method}" and teacher.model is {self.recipe.teacher.model!r}: its logits are '
                f"needed, so give a teacher that runs here ({EMBEDDED}teacher, a folder, or {LOCAL}<id on the hub>)"
            )
        if local.tokenizer.get_vocab() != self.student.tokenizer.get_vocab():
            raise ConfigError(
                f'method is "{self.recipe.method}", and {local.name} has another vocabulary than {self.student.name}: '
                "its logits would speak of other tokens; give a teacher of the student's family, or a method that "
                'reads texts ("omniopd")'
            )
        return local


def build_trainer(
    recipe: Recipe,
    output: Path,
    recorder: Recorder | None = None,
    student: LocalModel | None = None,
    teacher: LocalModel | Teacher | None = None,
    callbacks: Sequence[Any] = (),
) -> Trainer:
    """The trainer of a recipe's `method`.

    `output` is where checkpoints go. What is loaded already may be passed. Raises ConfigError and DataError for what
    cannot work, before anything is trained.
    """
    from transformers import PrinterCallback

    from omniopd.training.checks.architecture import check_architecture

    student = student or build_student(recipe)
    check_architecture(student.model)
    made = _METHODS[recipe.method](_Parts(recipe, output, recorder, student, teacher))
    made.keep_checkpoints = recipe.training.keep
    made.allow_zero_gradient = recipe.training.allow_zero_gradient
    for callback in callbacks:
        made.add_callback(callback)
    # It prints every log; the records hold them, and a progress line shows them.
    made.remove_callback(PrinterCallback)
    return made


def trainer_settings(recipe: Recipe, output: Path) -> OmniOPDConfig:
    """A recipe in the trainer's own words."""
    from omniopd.training.trainer import OmniOPDConfig

    training, audit, objective = recipe.training, recipe.audit, recipe.objective
    return OmniOPDConfig(
        **_run_settings(recipe, output),
        **_sampling(recipe),
        keep_checkpoints=training.keep,
        record_every=training.record_every,
        allow_off_policy=recipe.student.allow_off_policy,
        # the audit
        forks=audit.forks,
        samples=audit.samples,
        chunk_tokens=audit.chunk_tokens,
        scheduler=audit.scheduler,
        similarity=audit.similarity,
        power=audit.power,
        embedding_model=audit.embedding_model,
        tokens_per_student_token=recipe.teacher.tokens_per_student_token,
        max_unanswered_share=training.max_unanswered_share,
        max_equal_share=training.max_equal_share,
        # the objective
        target=objective.target,
        control=objective.control,
        concentration=objective.concentration,
        anchor_weight=objective.anchor_weight,
        anchor_on=objective.anchor_on,
        depth=objective.depth,
        continuation_weight=objective.continuation_weight,
        redraws=objective.redraws,
        normaliser_length=recipe.normaliser_length,
    )


def _omniopd(parts: _Parts) -> Trainer:
    from omniopd.training.trainer import OmniOPDTrainer

    return OmniOPDTrainer(teacher=parts.asked(), **parts.ours)


def _continuations(parts: _Parts) -> Trainer:
    weight = parts.recipe.objective.continuation_weight or 1.0
    objective = replace(parts.recipe.objective, target="none", continuation_weight=weight)
    parts.recipe = replace(parts.recipe, objective=objective)
    return _omniopd(parts)


def _white_box(parts: _Parts) -> Trainer:
    from omniopd.training.baselines.white_box import WhiteBoxTrainer

    teacher, temperature = parts.seen().model, parts.recipe.teacher.temperature
    return WhiteBoxTrainer(teacher_model=teacher, teacher_temperature=temperature, **parts.ours)


def _white_box_sampled(parts: _Parts) -> Trainer:
    from omniopd.training.baselines.white_box_sampled import SampledTokenTrainer

    return SampledTokenTrainer(teacher=build_teacher(parts.recipe, parts.seen()), **parts.ours)


def _sft(parts: _Parts) -> Trainer:
    from omniopd.training.baselines.sft import SFTConfig, StepLog, TeacherAnswersTrainer, teacher_answers

    recipe, tokenizer = parts.recipe, parts.student.tokenizer
    prompts = build_task(recipe).prompts(recipe.task.train_split, recipe.task.prompts or None, recipe.seed)
    answers = recipe.training.steps * recipe.training.rollouts
    rows, asked = teacher_answers(prompts, parts.asked(), tokenizer, answers, recipe.student.max_tokens, recipe.seed)
    args = SFTConfig(**_run_settings(recipe, parts.output), max_length=None, packing=False)
    return TeacherAnswersTrainer(
        args=args, train_dataset=rows, callbacks=[StepLog(parts.recorder, asked)], **parts.shared
    )


def _grpo(parts: _Parts) -> Trainer:
    from omniopd.training.baselines.grpo import GraderTrainer, GRPOConfig, grader_reward
    from omniopd.training.baselines.sft import StepLog
    from omniopd.training.checks.preflight import check_prompt_count

    recipe, tokenizer = parts.recipe, parts.student.tokenizer
    args = GRPOConfig(
        **_run_settings(recipe, parts.output),
        **_sampling(recipe),
        num_generations=recipe.training.group,
        beta=recipe.objective.anchor_weight,
        disable_dropout=True,
    )
    task = build_task(recipe)
    asked = task.prompts(recipe.task.train_split, recipe.task.prompts or None, recipe.seed)
    require_answers(task, asked, 'method "grpo"')
    prompts, failures = build_train_set(recipe), Counter[str]()
    check_prompt_count(prompts, args.generation_batch_size // args.num_generations)
    return GraderTrainer(
        reward_funcs=[grader_reward(task, tokenizer, failures)],
        args=args,
        train_dataset=prompts,
        callbacks=[StepLog(parts.recorder, failures=failures)],
        **parts.shared,
    )


_METHODS: dict[str, Callable[[_Parts], Trainer]] = {
    "omniopd": _omniopd,
    "continuations": _continuations,
    "white_box": _white_box,
    "white_box_sampled": _white_box_sampled,
    "sft": _sft,
    "grpo": _grpo,
}


def _run_settings(recipe: Recipe, output: Path) -> dict[str, Any]:
    """How long, how fast and on what: the same words for each of TRL's trainers."""
    training, on_cpu = recipe.training, device_of(recipe) == "cpu"
    micro_batch, accumulation = _batch_sizes(recipe)
    return {
        "output_dir": str(output),
        "seed": recipe.seed,
        "max_steps": training.steps,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": _schedule(training.schedule, training.warmup_steps),
        "warmup_steps": training.warmup_steps,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "use_cpu": on_cpu,
        "bf16": _is_bfloat16(training.precision),
        **_checkpointing(training.gradient_checkpointing),
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not on_cpu,
        "save_strategy": "steps",
        "save_steps": training.save_every,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "report_to": [],  # a tracker gets the run's records (tracking.py), evaluations and all
        "disable_tqdm": True,
    }


def _sampling(recipe: Recipe) -> dict[str, Any]:
    """How the student answers."""
    student = recipe.student
    return {
        "max_completion_length": student.max_tokens,
        "temperature": student.temperature,
        "top_p": student.top_p,
        "top_k": student.top_k,
        "use_vllm": student.use_vllm,
    }


def _batch_sizes(recipe: Recipe) -> tuple[int, int]:
    """Rollouts of one process per micro-batch, and micro-batches per step."""
    rollouts, processes = recipe.training.rollouts, int(os.environ.get("WORLD_SIZE", "1"))
    own, rest = divmod(rollouts, processes)
    micro_batch = min(recipe.training.micro_batch, max(own, 1))
    if rest or own % micro_batch:
        raise ConfigError(
            f"training.rollouts is {rollouts}, which {processes} processes cannot share in micro-batches of "
            f"{micro_batch}: make it a multiple of processes × training.micro_batch"
        )
    return micro_batch, own // micro_batch


def _checkpointing(wanted: bool) -> dict[str, Any]:
    """Newer transformers give the setting a new name and warn of the old one."""
    from omniopd.training.trainer import OmniOPDConfig

    names = {f.name for f in fields(OmniOPDConfig)}
    return {"activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing": wanted}


def _schedule(name: str, warmup_steps: int) -> str:
    return "constant_with_warmup" if name == "constant" and warmup_steps else name


def _is_bfloat16(precision: str) -> bool:
    if precision not in ("float32", "bfloat16"):
        raise ConfigError(f"training.precision is {precision!r}: it must be float32 or bfloat16")
    return precision == "bfloat16"
