"""A recipe in the words of TRL's trainers."""

from __future__ import annotations

import os
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from omniopd.config import Recipe
from omniopd.errors import ConfigError
from omniopd.training.arguments import RECIPE_KEYS, OmniOPDConfig


def trainer_settings(recipe: Recipe, output: Path) -> OmniOPDConfig:
    """All settings of a trainer that samples the student."""
    own = {name: attrgetter(key)(recipe) for name, key in RECIPE_KEYS.items()}
    return OmniOPDConfig(**run_settings(recipe, output), **sampling_settings(recipe), **own)


def run_settings(recipe: Recipe, output: Path) -> dict[str, Any]:
    """How long, how fast and on what: what each of TRL's trainers takes."""
    training, on_cpu = recipe.training, device_of(recipe) == "cpu"
    micro_batch, accumulation = _batch_sizes(recipe)
    warms_up = training.schedule == "constant" and training.warmup_steps > 0
    return {
        "output_dir": str(output),
        "seed": recipe.seed,
        "max_steps": training.steps,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if warms_up else training.schedule,
        "warmup_steps": training.warmup_steps,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "use_cpu": on_cpu,
        "bf16": training.precision == "bfloat16",
        _CHECKPOINTING: training.gradient_checkpointing,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not on_cpu,
        "save_strategy": "steps",
        "save_steps": training.save_every,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "report_to": [],  # a tracker gets the run's records (runs/trackers.py), evaluations and all
        "disable_tqdm": True,
    }


def sampling_settings(recipe: Recipe) -> dict[str, Any]:
    """How the student answers."""
    student = recipe.student
    return {
        "max_completion_length": student.max_tokens,
        "temperature": student.temperature,
        "top_p": student.top_p,
        "top_k": student.top_k,
        "use_vllm": student.use_vllm,
    }


def device_of(recipe: Recipe) -> str:
    """Where models run: the recipe's `training.device`, or a CUDA device if there is one, else the CPU."""
    wanted = recipe.training.device
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError('training.device is "cuda", and there is none here: use "auto" or "cpu"')
    return wanted


# Newer transformers give the setting a new name and warn of the old one.
_CHECKPOINTING = (
    "activation_checkpointing"
    if "activation_checkpointing" in {f.name for f in fields(OmniOPDConfig)}
    else "gradient_checkpointing"
)


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
