"""The only place where names in a recipe become objects: task, student, teacher, trainer.

A model's name is `embedded:student` or `embedded:teacher`, a folder, or an id on the Hugging Face hub (a teacher's with
`local:` before it, since a bare name means a model behind an API). Knows nothing of runs: records go to a recorder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from omniopd.config import Recipe
from omniopd.errors import ConfigError
from omniopd.models.loading import load_model, load_tokenizer, lora_config
from omniopd.tasks.gsm8k import Gsm8k
from omniopd.tasks.jsonl import Jsonl
from omniopd.tasks.stories import Stories
from omniopd.teachers.local import LocalTeacher

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from omniopd.training.trainer import OmniOPDConfig, OmniOPDTrainer, Recorder
    from omniopd.types import Task, Teacher

TASKS = ("stories", "gsm8k", "jsonl")
LOCAL, EMBEDDED = "local:", "embedded:"


@dataclass(frozen=True, slots=True, eq=False)
class LocalModel:
    """A network that runs here, with its tokenizer; `name` is the recipe's."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def build_task(recipe: Recipe) -> Task:
    """The task of a recipe. Raises ConfigError for an unknown name, or where a path is missing."""
    task = recipe.task
    if task.name == "stories":
        return Stories()
    if task.name == "gsm8k":
        return Gsm8k(task.path) if task.path else Gsm8k()
    if task.name == "jsonl":
        if not task.path:
            raise ConfigError('task.path is empty: a "jsonl" task needs a file or a folder: task.path=problems.jsonl')
        return Jsonl(task.path, task.prompt_column, task.answer_column)
    raise ConfigError(f"task.name is {task.name!r}: it must be one of {', '.join(TASKS)}")


def build_student(recipe: Recipe) -> LocalModel:
    """The untrained student with its tokenizer, on the recipe's device. Raises ConfigError for what cannot load."""
    return _loaded("student.model", recipe.student.model, recipe.student.dtype, recipe)


def build_teacher_model(recipe: Recipe) -> LocalModel | None:
    """The teacher's network where it runs here, else None (a model behind an API shows only texts)."""
    name = recipe.teacher.model
    is_local = name.startswith((LOCAL, EMBEDDED)) or Path(name).is_dir()
    return _loaded("teacher.model", name.removeprefix(LOCAL), recipe.teacher.dtype, recipe) if is_local else None


def build_teacher(recipe: Recipe, local: LocalModel | None = None) -> Teacher:
    """Who continues the student's texts; `local` is its network, if it is loaded already. Raises ConfigError."""
    teacher = recipe.teacher
    local = local or build_teacher_model(recipe)
    if local is None:
        raise ConfigError(
            f"teacher.model is {teacher.model!r}, and no folder has that name: give {EMBEDDED}teacher, a folder, or "
            f"{LOCAL}<id on the hub> for a teacher that runs here"
        )
    return LocalTeacher(
        local.model,
        local.tokenizer,
        temperature=teacher.temperature,
        top_p=teacher.top_p,
        batch_tokens=teacher.batch_tokens,
        name=local.name,
    )


def build_trainer(
    recipe: Recipe,
    output: Path,
    recorder: Recorder | None = None,
    student: LocalModel | None = None,
    teacher: LocalModel | Teacher | None = None,
    callbacks: Sequence[Any] = (),
) -> OmniOPDTrainer:
    """The trainer of a recipe: OmniOPD, or `method = "white_box"`, the same but with the teacher's logits.

    `output` is where checkpoints go. What is loaded already may be passed. Raises ConfigError and DataError for what
    cannot work, before anything is trained.
    """
    from transformers import PrinterCallback

    from omniopd.training.baselines import WhiteBoxTrainer
    from omniopd.training.trainer import OmniOPDTrainer

    prompts = build_train_set(recipe)
    student = student or build_student(recipe)
    rank = recipe.student.lora_rank
    shared: dict[str, Any] = {
        "model": student.model,
        "args": trainer_settings(recipe, output),
        "train_dataset": prompts,
        "processing_class": student.tokenizer,
        "callbacks": list(callbacks),
        "peft_config": lora_config(rank, recipe.student.lora_alpha) if rank else None,
        "recorder": recorder,
    }
    if recipe.method == "white_box":
        local = teacher if isinstance(teacher, LocalModel) else build_teacher_model(recipe)
        if local is None:
            raise ConfigError(
                f'method is "white_box" and teacher.model is {recipe.teacher.model!r}: its logits are needed, so give '
                f"a teacher that runs here ({EMBEDDED}teacher, a folder, or {LOCAL}<id on the hub>)"
            )
        trainer: OmniOPDTrainer = WhiteBoxTrainer(
            teacher_model=local.model, teacher_temperature=recipe.teacher.temperature, **shared
        )
    else:
        asked = build_teacher(recipe, teacher) if teacher is None or isinstance(teacher, LocalModel) else teacher
        trainer = OmniOPDTrainer(teacher=asked, **shared)
    # It prints every log; the records hold them, and a progress line shows them.
    trainer.remove_callback(PrinterCallback)
    return trainer


def build_train_set(recipe: Recipe) -> Dataset:
    """The prompts to practise on, with ids and answers: `task.prompts` of them (0: all), drawn by the run's seed."""
    from datasets import Dataset

    prompts = build_task(recipe).prompts(recipe.task.train_split, recipe.task.prompts or None, recipe.seed)
    return Dataset.from_list([{"prompt": list(p.messages), "id": p.id, "answer": p.answer} for p in prompts])


def trainer_settings(recipe: Recipe, output: Path) -> OmniOPDConfig:
    """A recipe in the trainer's own words."""
    from omniopd.training.trainer import OmniOPDConfig

    training, sampling, audit, objective = recipe.training, recipe.student, recipe.audit, recipe.objective
    on_cpu = device_of(recipe) == "cpu"
    micro_batch, accumulation = _batch_sizes(recipe)
    return OmniOPDConfig(
        output_dir=str(output),
        seed=recipe.seed,
        # how long and how fast
        max_steps=training.steps,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulation,
        learning_rate=training.learning_rate,
        lr_scheduler_type=_schedule(training.schedule, training.warmup_steps),
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        # on what
        use_cpu=on_cpu,
        bf16=_is_bfloat16(training.precision),
        **_checkpointing(training.gradient_checkpointing),
        dataloader_num_workers=0,
        dataloader_pin_memory=not on_cpu,
        # what is kept and said
        save_strategy="steps",
        save_steps=training.save_every,
        keep_checkpoints=training.keep,
        record_every=training.record_every,
        logging_strategy="steps",
        logging_steps=1,
        report_to=[] if training.report_to == "none" else [training.report_to],
        disable_tqdm=True,
        # the student's answers
        max_completion_length=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        allow_off_policy=sampling.allow_off_policy,
        use_vllm=sampling.use_vllm,
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


def device_of(recipe: Recipe) -> str:
    """Where models run: the recipe's `training.device`, or a CUDA device if there is one, else the CPU."""
    wanted = recipe.training.device
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted not in ("cpu", "cuda"):
        raise ConfigError(f"training.device is {wanted!r}: it must be auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError('training.device is "cuda", and there is none here: use "auto" or "cpu"')
    return wanted


def _loaded(key: str, name: str, dtype: str, recipe: Recipe) -> LocalModel:
    try:
        return LocalModel(name, load_model(name, dtype, device_of(recipe)), load_tokenizer(name))
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


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
