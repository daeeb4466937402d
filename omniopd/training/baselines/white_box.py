"""What OmniOPD is compared with: white-box on-policy distillation, which sees the teacher's logits.

The objective is TRL's own: the mean over response tokens of KL(π_θ‖π_teacher), full vocabulary (its `beta` 1).
Sampling, data order, checkpoints and records are those of `OmniOPDTrainer`, so that with equal weights both see the
same rollouts.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.errors import ConfigError
from omniopd.io.processes import gathered
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.checks.preflight import check_run, refuse_overlap
from omniopd.training.on_policy import OnPolicyTrainer, StepTotals
from omniopd.training.parts import TrainerParts
from omniopd.training.statistics import LossSums
from omniopd.types import AuditedRollout, Usage

REVERSE_KL = 1.0  # TRL's `beta`: 0 is KL(teacher‖student), 1 is KL(student‖teacher)
# Under any of these names TRL finds a factor that multiplies a model's logits.
_SCALES = ("output_multiplier", "lm_head_multiplier", "logits_scaling")


class WhiteBoxTrainer(OnPolicyTrainer):
    """TRL's `DistillationTrainer` with the seeding, the checkpoints and the records of `OmniOPDTrainer`.

    Args, beside those of `OmniOPDTrainer`:
        teacher_model: a model with the student's vocabulary.
        teacher_temperature: its logits are divided by this, the student's are not.
    """

    _name = "white-box OPD"

    def __init__(
        self,
        model: PreTrainedModel,
        teacher_model: PreTrainedModel,
        args: OmniOPDConfig,
        train_dataset: Any,
        processing_class: PreTrainedTokenizerBase,
        teacher_temperature: float = 1.0,
        peft_config: Any = None,
        **options: Any,
    ) -> None:
        refuse_overlap(args, self._name)
        train_dataset = check_run(model, processing_class, args, train_dataset, adapter=peft_config is not None)
        teacher = with_temperature(teacher_model, teacher_temperature)
        args.beta = REVERSE_KL
        self._teacher_read = 0  # tokens of this process since the last step was logged
        super().__init__(model, teacher, args, train_dataset, processing_class, peft_config=peft_config, **options)

    def _set_targets(self, output: dict[str, Any], inputs: list[dict[str, Any]], step: int) -> None:
        """Nobody is asked. Where the rollouts are to be recorded, they are scored as OmniOPD's are."""
        mask = output["completion_mask"]
        lengths = gathered(mask.sum(-1).tolist())
        self._metrics["train"]["length/mean"].append(sum(lengths) / len(lengths))
        # Its forward reads every answer once, with its prompt.
        self._teacher_read += int(output["prompt_mask"].sum() + mask.sum())
        rollouts = self._scored_rollouts(output, inputs) if self._records_rollouts(step + 1) else []
        self._keep([AuditedRollout(r, ()) for r in rollouts], [[] for _ in rollouts], mask.device)

    def _compute_loss(
        self, unwrapped_student: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        with self.stopwatch.phase("loss"), self.accelerator.autocast():
            made: tuple[Tensor, Tensor, Tensor] = super()._compute_loss(unwrapped_student, inputs, num_items_in_batch)
        # Each process's part of the batch's mean, as OmniOPD's sums are parts of one constant.
        self._loss_sums.add(divergence=made[0].detach() / self.accelerator.num_processes)
        return made

    def _totals(self, seconds: dict[str, float]) -> StepTotals:
        divergence = LossSums.joined(gathered([self._loss_sums])).sums["divergence"]
        read, self._teacher_read = sum(gathered([self._teacher_read])), 0
        # All of the loss is on response tokens, none of it an anchor.
        return StepTotals(divergence, divergence, 0.0, Usage(input_tokens=read))


def build(parts: TrainerParts) -> WhiteBoxTrainer:
    temperature = parts.recipe.teacher.temperature
    return WhiteBoxTrainer(teacher_model=parts.teacher.model, teacher_temperature=temperature, **parts.on_policy)


def with_temperature(teacher: PreTrainedModel, temperature: float) -> PreTrainedModel:
    """The teacher with its logits divided by `temperature` in TRL's loss, as a copy; itself at temperature 1.

    TRL divides both models' logits by one temperature, the student's; a factor of the teacher's own is set where TRL
    looks for one. Raises ConfigError for a model that bends its logits, or has such a factor by another name.
    """
    if temperature == 1.0:
        return teacher
    config = teacher.config.get_text_config()
    bent = getattr(config, "final_logit_softcapping", None)
    if temperature <= 0 or bent or any(getattr(config, name, None) is not None for name in _SCALES):
        raise ConfigError(
            f"teacher.temperature is {temperature} for a white-box teacher of type {config.model_type!r}: it must be "
            "above 0, and 1 for a model that scales or bends its own logits"
        )
    with torch.no_grad():
        teacher = copy.deepcopy(teacher)
    config = teacher.config.get_text_config()
    scale = getattr(config, "logit_scale", None)
    config.logit_scale = (1.0 if scale is None else scale) / temperature
    return teacher
