"""What a method builds its trainer from: everything that a recipe names, loaded and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.config import Recipe
from omniopd.models.adapters import lora_config
from omniopd.training.arguments import trainer_settings
from omniopd.training.data import as_rows
from omniopd.training.recording import Recorder
from omniopd.types import Prompt, Task


@dataclass(frozen=True, slots=True, eq=False)
class TrainerParts:
    """`model` is the student, `output` the folder of its checkpoints, `prompts` are those to practise on.

    `teacher` is what the method reads (`Method.reads`): one that is asked for texts; a `LocalTeacher` with the
    student's vocabulary, for its logits; or None.
    """

    recipe: Recipe
    output: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    prompts: Sequence[Prompt]
    teacher: Any
    recorder: Recorder | None = None
    probes: Sequence[Prompt] = ()

    @property
    def student(self) -> dict[str, Any]:
        """Arguments of every trainer of TRL's."""
        s = self.recipe.student
        adapter = lora_config(s.lora_rank, s.lora_alpha, s.target_modules) if s.lora_rank else None
        return {"model": self.model, "processing_class": self.tokenizer, "peft_config": adapter}

    @property
    def on_policy(self) -> dict[str, Any]:
        """Arguments of every `OnPolicyTrainer`."""
        return self.student | {
            "args": trainer_settings(self.recipe, self.output),
            "train_dataset": as_rows(self.prompts),
            "recorder": self.recorder,
            "probes": self.probes,
        }
