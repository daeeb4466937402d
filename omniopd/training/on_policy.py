"""What trainers on the student's own answers share: TRL's distillation, drawn by counters, recorded step by step.

TRL samples the student, shards, accumulates, optimises and logs. This class adds whole checkpoints, answers scored as
the loss scores them, probes and records. Knows no files of a run: records go to a `recorder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DistillationTrainer
from trl.models.utils import unwrap_model_for_generation

from omniopd.io.processes import gathered
from omniopd.method.evidence import ForkTarget
from omniopd.models.batching import rollout_batch, sequences
from omniopd.models.pieces import whole
from omniopd.models.sampling import sample
from omniopd.models.token_stats import sequence_statistics
from omniopd.records import RolloutRecord, StepRecord
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.checks.preflight import hold_still
from omniopd.training.probes import Probes
from omniopd.training.recording import Recorder, rollout_records
from omniopd.training.rollouts import as_prompts, as_rollouts
from omniopd.training.statistics import LossSums
from omniopd.training.stopwatch import Stopwatch, with_rest
from omniopd.training.trl.atomic_checkpoints import AtomicCheckpointMixin
from omniopd.training.trl.learning import LearnsSomething
from omniopd.training.trl.own_draws import OwnDraws
from omniopd.training.trl.sampler_gap import SamplerGap
from omniopd.training.trl.token_means import TokenMeans
from omniopd.types import AuditedRollout, Prompt, Rollout, Usage


@dataclass(frozen=True, slots=True)
class StepTotals:
    """A step over all processes: its loss and the two parts of it, what the teacher took, numbers for the log."""

    loss: float
    chunk_loss: float
    anchor_loss: float
    usage: Usage
    failures: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


class OnPolicyTrainer(SamplerGap, OwnDraws, TokenMeans, LearnsSomething, AtomicCheckpointMixin, DistillationTrainer):
    """A base. A method says what is learnt from a batch of answers (`_set_targets`), what a micro-batch costs
    (`_compute_loss`), what a step took (`_totals`), and whether probes are audited (`_audit_probes`).

    `teacher_model` is what TRL prepares beside the student: a frozen reference, a teacher with logits, or None. `args`
    and `train_dataset` have passed `check_run`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        teacher_model: PreTrainedModel | None,
        args: OmniOPDConfig,
        train_dataset: Any,
        processing_class: PreTrainedTokenizerBase,
        recorder: Recorder | None = None,
        probes: Sequence[Prompt] = (),
        **options: Any,
    ) -> None:
        self.recorder = recorder
        self.tokenizer = processing_class
        self.probes = Probes(probes)
        self.stopwatch = Stopwatch()
        self._loss_sums = LossSums()
        # By row of the global batch, of this process only: what is recorded of it.
        self._own: dict[int, tuple[AuditedRollout, list[ForkTarget]]] = {}
        self._anchor_kl: dict[int, Tensor] = {}
        self._label_nll: dict[int, Tensor] = {}
        super().__init__(
            model=model,
            teacher_model=teacher_model,
            args=args,
            train_dataset=train_dataset,
            processing_class=processing_class,
            **options,
        )
        hold_still(self.model, args)

    def _set_targets(self, output: dict[str, Any], inputs: list[dict[str, Any]], step: int) -> None:
        """A hook: add to a batch what is learnt from it, and keep what is recorded (`_own`)."""
        raise NotImplementedError

    def _totals(self, seconds: dict[str, float]) -> StepTotals | None:
        """A hook: the step that is logged now, for its record; None where there is nothing to record."""
        raise NotImplementedError

    def _audit_probes(self, rollouts: list[Rollout], first_row: int) -> list[AuditedRollout]:
        """A hook: the audits of the answers to the probes."""
        return [AuditedRollout(rollout, ()) for rollout in rollouts]

    # ── sampling ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _timed(self, phase: str) -> AbstractContextManager[None]:
        return self.stopwatch.phase(phase)

    def _after_sampling(self, output: dict[str, Any], inputs: list[dict[str, Any]]) -> None:
        # Evaluation comes this way too: a teacher that costs money is asked only while training.
        if self.model.training:
            self._set_targets(output, inputs, self.state.global_step)
            self._answer_probes(len(inputs) * self.accelerator.num_processes)

    def _scored_rollouts(
        self, output: dict[str, Any], inputs: list[dict[str, Any]], score: bool = True
    ) -> list[Rollout]:
        """The answers of this process, with log-probabilities and entropies as the loss computes them; NaN where they
        are not to be scored."""
        unknown = torch.full(output["completion_ids"].shape, torch.nan)
        rollouts = as_rollouts(as_prompts(inputs), output, unknown, unknown, self.tokenizer, self.eos_token_ids)
        if score:
            rollouts = self._scored(rollouts)
            self.note_gap(rollouts)
        return rollouts

    @torch.no_grad()
    def _scored(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """The rollouts with the log-probabilities and entropies of the student as it is now."""
        rows, found = self.args.per_device_train_batch_size, []
        student = self.accelerator.unwrap_model(self.model_wrapped)
        with self.stopwatch.phase("scoring"):
            student.eval()
            try:
                with self.accelerator.autocast():
                    for at in range(0, len(rollouts), rows):
                        part = rollouts[at : at + rows]
                        # Padded as its micro-batch needs it: the same numbers, in whatever waves answers come.
                        batch = rollout_batch(part, self._tokenizer.pad_token_id)
                        ids, mask, time = sequences(batch)
                        device = self.accelerator.device
                        scores = self._forward_redirection(
                            self.model_wrapped, student, sequence_statistics, student, ids.to(device), mask.to(device),
                            time, temperature=self.temperature,
                        )  # fmt: skip
                        logprobs, entropies = scores.logprobs.float().cpu(), scores.entropies.float().cpu()
                        for rollout, row_logprobs, row_entropies in zip(part, logprobs, entropies, strict=True):
                            n = len(rollout)
                            found.append(replace(rollout, logprobs=row_logprobs[:n], entropies=row_entropies[:n]))
            finally:
                student.train()
        return found

    def _keep(self, audited: Sequence[AuditedRollout], targets: Sequence[list[ForkTarget]], device: Any) -> Tensor:
        """Keep this process's part of the batch for the records; its rows in the global batch."""
        first = self.accelerator.process_index * len(audited)
        self._own = {first + i: pair for i, pair in enumerate(zip(audited, targets, strict=True))}
        self._anchor_kl, self._label_nll = {}, {}
        return torch.arange(first, first + len(audited), device=device)

    def _answer_probes(self, batch: int) -> None:
        """Where the step is recorded, sample the probes from the student as it is now, and audit them; else forget the
        last ones. Every process takes the same forwards."""
        self.probes.audited = []
        if not self.probes.prompts or not self._records_rollouts(self.state.global_step + 1):
            return
        a = self.args
        with self.stopwatch.phase("probes"):
            with (
                unwrap_model_for_generation(self.model_wrapped, self.accelerator) as student,
                torch.no_grad(),
                whole(self.model_wrapped),
            ):
                # The first answers of those that an evaluation with the run's seed takes.
                rollouts = sample(
                    student, self.tokenizer, self.probes.prompts, a.max_completion_length, a.temperature, a.seed,
                    top_p=a.top_p, top_k=a.top_k or 0,
                )  # fmt: skip
            self.probes.audited = self._audit_probes(rollouts, batch)

    # ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        totals, seconds = None, {}
        if self.model.training and "loss" in logs:
            seconds = self.stopwatch.take()
            totals = self._totals(seconds)
            self._loss_sums = LossSums()
        for name, value in totals.metrics.items() if totals is not None else ():
            self._metrics["train"][name].append(float(value))
        super().log(logs, start_time)
        if totals is not None and self.recorder is not None:
            self._record(self.recorder, logs, totals, seconds)
        self.refuse_idle(logs)

    def _record(
        self, recorder: Recorder, logs: dict[str, float], totals: StepTotals, seconds: dict[str, float]
    ) -> None:
        step, a = self.state.global_step, self.args
        records: list[RolloutRecord] = []
        if self._records_rollouts(step):
            records = gathered(
                rollout_records(
                    step, self._own, self._anchor_kl, a.concentration, self.tokenizer, a.anchor_on,
                    label_nll=self._label_nll,
                )
            )  # fmt: skip
        if not self.accelerator.is_main_process:
            return
        usage = totals.usage
        recorder.append(
            StepRecord(
                step=step,
                loss=totals.loss,
                chunk_loss=totals.chunk_loss,
                anchor_loss=totals.anchor_loss,
                metrics={k: v for k, v in logs.items() if isinstance(v, int | float) and not k.startswith("seconds/")},
                failures=totals.failures,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cost_usd=usage.cost_usd,
                cached_tokens=usage.cached_tokens,
                calls=usage.calls,
                seconds=with_rest(seconds, logs.get("step_time")),
            )
        )
        if records:
            records += self.probes.records(step, len(records), a.concentration, self.tokenizer)
            recorder.write_rollouts(step, records)

    def _records_rollouts(self, step: int) -> bool:
        every = self.args.record_every
        return self.recorder is not None and every > 0 and (step == 1 or step % every == 0)
