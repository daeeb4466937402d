"""What OmniOPD is compared with: white-box on-policy distillation, which sees the teacher's logits.

The objective is TRL's own: the mean over response tokens of KL(π_θ‖π_teacher), full vocabulary (its `beta` 1).
Sampling, data order, checkpoints and records are those of `OmniOPDTrainer`, so that with equal weights both see the
same rollouts.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DistillationTrainer

from omniopd.errors import ConfigError
from omniopd.records import StepRecord
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.checks.preflight import check_run, hold_still
from omniopd.training.data import as_dataset
from omniopd.training.probes import Probes
from omniopd.training.recording import rollout_records
from omniopd.training.rollouts import as_prompts
from omniopd.training.statistics import LossSums
from omniopd.training.stopwatch import Stopwatch, with_rest
from omniopd.training.trainer import OmniOPDTrainer, Recorder
from omniopd.types import AuditedRollout, Prompt

REVERSE_KL = 1.0  # TRL's `beta`: 0 is KL(teacher‖student), 1 is KL(student‖teacher)
# Under any of these names TRL finds a factor that multiplies a model's logits.
_SCALES = ("output_multiplier", "lm_head_multiplier", "logits_scaling")


class WhiteBoxTrainer(OmniOPDTrainer):
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
        callbacks: list[Any] | None = None,
        peft_config: Any = None,
        recorder: Recorder | None = None,
        teacher_temperature: float = 1.0,
        probes: Sequence[Prompt] = (),
    ) -> None:
        train_dataset = as_dataset(train_dataset)
        check_run(model, processing_class, args, train_dataset, adapter=peft_config is not None)
        self.recorder = recorder
        self.probes = Probes(probes, ask=False)
        self.stopwatch = Stopwatch()
        self.tokenizer = processing_class
        self._loss_sums = LossSums()
        self._audited: list[AuditedRollout] = []
        self._own = {}
        self._teacher_read = 0  # tokens of this process since the last step was logged
        self._anchor_kl: dict[int, Tensor] = {}
        args.beta = REVERSE_KL
        # OmniOPDTrainer's own would build a reference and a text teacher.
        DistillationTrainer.__init__(
            self,
            model=model,
            teacher_model=with_temperature(teacher_model, teacher_temperature),
            args=args,
            train_dataset=train_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
            peft_config=peft_config,
        )
        hold_still(self.model, args)

    def _audit_batch(self, output: dict[str, Any], inputs: list[dict[str, Any]], step: int) -> None:
        """Nobody is asked. Where the rollouts are to be recorded, they are scored as OmniOPD's are."""
        lengths = self._gathered(output["completion_mask"].sum(-1).tolist())
        self._metrics["train"]["length/mean"].append(sum(lengths) / len(lengths))
        # Its forward reads every answer once, with its prompt.
        self._teacher_read += int(output["prompt_mask"].sum() + output["completion_mask"].sum())
        self._own = {}
        if self._records_rollouts(step + 1):
            with self.stopwatch.phase("scoring"):
                rollouts = self._scored_rollouts(output, as_prompts(inputs))
            first = self.accelerator.process_index * len(rollouts)
            self._own = {first + i: (AuditedRollout(r, ()), []) for i, r in enumerate(rollouts)}

    def _compute_loss(
        self, unwrapped_student: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        with self.stopwatch.phase("loss"), self.accelerator.autocast():
            made = DistillationTrainer._compute_loss(self, unwrapped_student, inputs, num_items_in_batch)
        # Each process's part of the batch's mean, as OmniOPD's sums are parts of one constant.
        self._loss_sums.add(divergence=made[0].detach() / self.accelerator.num_processes)
        return made

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        is_step = self.model.training and "loss" in logs
        super(OmniOPDTrainer, self).log(logs, start_time)  # not of audits, of which it has none
        if is_step and self.recorder is not None:
            self._record_step(logs)
        if is_step:
            self.refuse_idle(logs)

    def _record_step(self, logs: dict[str, float]) -> None:
        step = self.state.global_step
        sums = LossSums.joined(self._gathered([self._loss_sums]))
        read = sum(self._gathered([self._teacher_read]))
        self._loss_sums, self._teacher_read = LossSums(), 0
        seconds = with_rest(self.stopwatch.take(), logs.get("step_time"))
        records = []
        if self._records_rollouts(step):
            records = self._gathered(rollout_records(step, self._own, {}, 0.0, self._tokenizer))
        if self.recorder is None or not self.accelerator.is_main_process:
            return
        divergence = sums.sums["divergence"]
        metrics = {k: v for k, v in logs.items() if isinstance(v, int | float)}
        # All of the loss is on response tokens, none of it an anchor.
        self.recorder.append(
            StepRecord(
                step,
                divergence,
                chunk_loss=divergence,
                anchor_loss=0.0,
                metrics=metrics,
                input_tokens=read,
                seconds=seconds,
            )
        )
        if records:
            records += self.probes.records(step, len(records), 0.0, self._tokenizer)
            self.recorder.write_rollouts(step, records)


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
