"""`OmniOPDTrainer`: TRL's on-policy distillation with a teacher that is only read. The one place that overrides TRL.

TRL samples the student, shards, accumulates, optimises and logs; this class adds the audit where TRL has sampled
(`_generate_and_score_completions`), replaces the loss (`_compute_loss`), seeds by counters, and makes checkpoints
whole. Knows no files of a run: records go to a `recorder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DistillationTrainer

from omniopd.auditing import audit, evidence, similarity_named
from omniopd.errors import ConfigError
from omniopd.method.evidence import ForkTarget
from omniopd.method.targets import TARGETS
from omniopd.method.tensors import fork_targets, schedule
from omniopd.models.batching import target_batch
from omniopd.models.loading import frozen_copy, load_model, load_tokenizer
from omniopd.models.text.chat import prompt_ids
from omniopd.models.text.token_text import whole_characters
from omniopd.models.token_stats import as_reference, head_of, response_hidden, sequence_statistics
from omniopd.records import RolloutRecord, StepRecord
from omniopd.teachers.cache.identity import check_token_ratio, sampling_of
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.checks.architecture import measure
from omniopd.training.checks.preflight import check_batch, check_run, hold_still
from omniopd.training.continuations import continuation_parts
from omniopd.training.data import as_dataset
from omniopd.training.objective import Reference, micro_batch_loss
from omniopd.training.probes import Probes
from omniopd.training.recording import Recorder, rollout_records
from omniopd.training.reference import said, start_beside
from omniopd.training.resolve_teacher import resolve_teacher
from omniopd.training.rollouts import as_prompts, as_rollouts, compute_on_main, local_shard
from omniopd.training.statistics import LossSums, audit_statistics, failures, spend
from omniopd.training.stopwatch import Stopwatch, with_rest
from omniopd.training.trl.atomic_checkpoints import AtomicCheckpointMixin
from omniopd.training.trl.learning import LearnsSomething, why_untaught
from omniopd.training.trl.own_draws import OwnDraws
from omniopd.training.trl.seeding import generator_for, seed_for, seed_global_generators
from omniopd.training.trl.token_means import TokenMeans
from omniopd.types import AuditedRollout, Prompt, Rollout, Similarity, Teacher, Usage

__all__ = ["OmniOPDConfig", "OmniOPDTrainer", "Recorder"]

T = TypeVar("T")


class OmniOPDTrainer(OwnDraws, TokenMeans, LearnsSomething, AtomicCheckpointMixin, DistillationTrainer):
    """Train a student on the texts of a teacher (paper.md §3).

    Args:
        model: the student, a model or an id or folder.
        teacher: a `Teacher`; or a name: a folder, a hub id, or a model behind an API as litellm writes it.
        args: `OmniOPDConfig`.
        train_dataset: rows with a `prompt` (text or chat messages), a data set or any iterable of dicts; `id` and
            `answer` travel into the records.
        processing_class: the student's tokenizer.
        peft_config: LoRA; the reference is then the model with its adapter off, where that is the starting student;
            else a frozen copy of it.
        similarity: replaces the one named in `args`.
        recorder: gets a `StepRecord` per step, and the rollouts every `args.record_every` steps.
        probes: prompts answered and audited whenever rollouts are recorded, and never learnt from.
    """

    _name = "OmniOPD"

    def __init__(
        self,
        model: str | PreTrainedModel,
        teacher: Teacher | str,
        args: OmniOPDConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        callbacks: list[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        peft_config: Any = None,
        similarity: Similarity | None = None,
        recorder: Recorder | None = None,
        probes: Sequence[Prompt] = (),
    ) -> None:
        args = args or OmniOPDConfig("omniopd-run")
        if isinstance(model, str):
            processing_class = processing_class or load_tokenizer(model)
            model = load_model(model, **(args.model_init_kwargs or {}))
        tokenizer = processing_class or load_tokenizer(model.config._name_or_path)
        train_dataset = as_dataset(train_dataset)
        check_run(model, tokenizer, args, train_dataset, adapter=peft_config is not None)
        reference, given = (frozen_copy(model), None) if peft_config is None else (None, said(model))
        self.teacher = resolve_teacher(teacher, args.control, model if reference is None else reference, tokenizer)
        some = [m["content"] for prompt in as_prompts([*islice(train_dataset, 200)]) for m in prompt.messages]
        check_token_ratio(self.teacher, tokenizer, args.tokens_per_student_token, some)
        self.similarity = similarity or similarity_named(args.similarity, args.power, args.embedding_model)
        self.recorder = recorder
        self.probes = Probes(probes)
        self.stopwatch = Stopwatch()
        self._loss_sums = LossSums()
        self._audited: list[AuditedRollout] = []
        self._audited_before = False
        self._own: dict[int, tuple[AuditedRollout, list[ForkTarget]]] = {}
        self._anchor_kl: dict[int, Tensor] = {}
        self._label_nll: dict[int, Tensor] = {}
        super().__init__(
            model=model,
            teacher_model=reference,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            callbacks=callbacks,
            optimizers=optimizers,
            peft_config=peft_config,
        )
        measure(self.model)  # with its adapter, while the weights are whole
        self.tokenizer = tokenizer
        hold_still(self.model, args)
        start = None if given is None else start_beside(self.model, given)
        if start is not None:
            self.teacher_model = self.accelerator.prepare_model(start, evaluation_mode=True)
        if args.redraws and self.accelerator.distributed_type in ("FSDP", "DEEPSPEED"):
            raise ConfigError(
                f"redraws is {args.redraws} under {self.accelerator.distributed_type.value}: one process alone cannot "
                "draw from weights in pieces, so use redraws=0, or whole weights in each process"
            )

    # ── sampling and auditing ────────────────────────────────────────────────────────────────────────────────────

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        # TRL would read special tokens out of a prompt's text.
        if prompts and isinstance(prompts[0], list):
            return [prompt_ids(self._tokenizer, messages) for messages in prompts], None, {}
        return super()._tokenize_prompts(prompts)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        step, rank = self.state.global_step, self.accelerator.process_index
        seed_global_generators("sampling", self.args.seed, step, rank)
        with self.stopwatch.phase("sampling"):
            output = super()._generate_and_score_completions(inputs)
        # Evaluation comes this way too: a teacher that costs money is asked only while training.
        if self.model.training:
            self._audit_batch(output, inputs, step)
            self.probes.answer(self, len(inputs) * self.accelerator.num_processes)
        # TRL shuffles the batch next, from the global generator; so does dropout.
        seed_global_generators("shuffle", self.args.seed, step, rank)
        return output

    def _audit_batch(self, output: dict[str, Any], inputs: list[dict[str, Any]], step: int) -> None:
        """Adds a `TargetBatch` and `row_id` to the batch; keeps the audits for the records."""
        with self.stopwatch.phase("scoring"):
            rollouts = self._scored_rollouts(output, as_prompts(inputs))
        everyone = self._gathered(rollouts)
        chooser = generator_for("forks", self.args.seed, step)
        a = self.args
        forks = [
            schedule(a.scheduler, r.entropies, a.forks, a.chunk_tokens, chooser, allowed=whole_characters(r.pieces))
            for r in everyone
        ]
        with self.stopwatch.phase("teacher"):
            audited = compute_on_main(self.accelerator, lambda: self._ask(everyone, forks, step))
        targets = fork_targets(
            evidence(audited), a.target, a.control, a.concentration, a.depth, generator_for("shuffled", a.seed, step)
        )
        check_batch(audited, a, not self._audited_before, sampling_of(self.teacher).get("temperature"))
        self._untaught = why_untaught(audited, targets, a)
        self._audited, self._audited_before = audited, True
        first = self.accelerator.process_index * len(rollouts)
        own, own_targets = local_shard(audited, targets, first, len(rollouts))
        mask = output["completion_mask"].bool()
        batch = target_batch(own, [t for row in own_targets for t in row], mask, a.anchor_on, a.continuation_weight)
        output.update(batch.tensors())
        output["row_id"] = torch.arange(first, first + len(rollouts), device=mask.device)
        self._own = {first + i: pair for i, pair in enumerate(zip(own, own_targets, strict=True))}
        self._anchor_kl, self._label_nll = {}, {}
        for name, value in audit_statistics(audited, targets).items():
            self._metrics["train"][name].append(value)

    @torch.no_grad()
    def _scored_rollouts(self, output: dict[str, Any], prompts: list[Any]) -> list[Rollout]:
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        attention = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        time = output["completion_ids"].shape[1]
        student = self.accelerator.unwrap_model(self.model_wrapped)
        student.eval()
        try:
            with self.accelerator.autocast():
                parts = [
                    self._forward_redirection(
                        self.model_wrapped, student, sequence_statistics, student, i, m, time,
                        temperature=self.temperature,
                    )
                    for i, m in zip(
                        ids.split(self.args.per_device_train_batch_size),
                        attention.split(self.args.per_device_train_batch_size),
                        strict=True,
                    )
                ]  # fmt: skip
        finally:
            student.train()
        logprobs = torch.cat([p.logprobs for p in parts]).float().cpu()
        entropies = torch.cat([p.entropies for p in parts]).float().cpu()
        return as_rollouts(prompts, output, logprobs, entropies, self._tokenizer, self.eos_token_ids)

    def _ask(self, rollouts: list[Rollout], forks: list[Any], step: int) -> list[AuditedRollout]:
        return audit(
            rollouts,
            forks,
            self.teacher,
            self.stopwatch.timed(self.similarity),
            self.args.samples,
            tokenizer=self._tokenizer,
            seed=seed_for("teacher", self.args.seed, step),
            tokens_per_student_token=self.args.tokens_per_student_token,
            redraws=self.args.redraws,
            student=self._student_as_teacher() if self.args.redraws else None,
        )

    def _student_as_teacher(self) -> Teacher:
        from omniopd.teachers.local import LocalTeacher

        return LocalTeacher(self.accelerator.unwrap_model(self.model_wrapped), self._tokenizer)

    def _gathered(self, own: list[T]) -> list[T]:
        """The lists of all processes as one, in the order of their ranks."""
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object(own)
        return gathered

    # ── the loss ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _compute_loss(
        self, unwrapped_student: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        # accelerate puts autocast around `forward`, which a redirected call steps over.
        with self.stopwatch.phase("loss"), self.accelerator.autocast():
            if "weights" not in inputs:
                inputs = {**inputs, **self._anchor_only(inputs)}
            made = micro_batch_loss(
                unwrapped_student,
                inputs,
                self._reference(unwrapped_student, inputs),
                self.args.anchor_weight,
                self._normaliser(),
                self.temperature,
                self._continuation_forwards(unwrapped_student, inputs),
                record="row_id" in inputs and self._records_rollouts(self.state.global_step + 1),
                concentration=self.args.concentration if TARGETS[self.args.target].gives == "counts" else None,
            )
        if "row_id" in inputs:
            self._loss_sums = LossSums.joined([self._loss_sums, made.sums])
            if self._records_rollouts(self.state.global_step + 1):
                rows = inputs["row_id"].tolist()
                self._anchor_kl |= dict(zip(rows, made.anchor_kl.cpu(), strict=True))
                if made.label_nll is not None:
                    self._label_nll |= dict(zip(rows, made.label_nll.cpu(), strict=True))
        return made.total, made.entropy_sum, made.tokens

    def _continuation_forwards(self, student: nn.Module, inputs: dict[str, Any]) -> int:
        """Those of the process with the most: sharded weights are gathered in every forward, by all together."""
        if self.args.continuation_weight == 0:
            return 0
        own = torch.tensor([continuation_parts(student, inputs)], device=self.accelerator.device)
        return int(self.accelerator.gather(own).max())

    def _normaliser(self) -> float:
        """Rollouts of the global batch × a fixed length, per process: DDP averages gradients over processes."""
        a = self.args
        length = a.normaliser_length or a.max_completion_length
        return float(a.per_device_train_batch_size * a.gradient_accumulation_steps * length)

    def _reference(self, student: nn.Module, inputs: dict[str, Any]) -> Reference:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        time = inputs["completion_ids"].shape[1]
        if self.teacher_model is None:
            with as_reference(student, student) as frozen:
                return Reference(response_hidden(frozen, ids, attention, time), head_of(frozen))
        frozen = self.accelerator.unwrap_model(self.teacher_model)
        with torch.no_grad():
            self.teacher_model.eval()
            hidden = self._forward_redirection(
                self.teacher_model, frozen, response_hidden, frozen, ids, attention, time
            )
        return Reference(hidden, head_of(frozen))

    def _anchor_only(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """In evaluation nobody is asked: the loss is the anchor on every token."""
        return target_batch([], [], inputs["completion_mask"].bool()).tensors()

    # ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        audited = self._audited if self.model.training and "loss" in logs else []
        if audited:
            usage = self._spent(audited) + self.probes.usage
            sums = LossSums.joined(self._gathered([self._loss_sums]))
            seconds = self.stopwatch.take()
            extra = {
                **sums.metrics(self.accelerator.num_processes),
                "teacher/input_tokens": usage.input_tokens,
                "teacher/output_tokens": usage.output_tokens,
                "teacher/cost_usd": usage.cost_usd,
                **self.probes.metrics(),
                **{f"seconds/{phase}": value for phase, value in seconds.items()},
            }
            for name, value in extra.items():
                self._metrics["train"][name].append(float(value))
            self._loss_sums, self._audited = LossSums(), []
        super().log(logs, start_time)
        if audited and self.recorder is not None:
            self._record(logs, audited, usage, seconds)
        self.refuse_idle(logs)

    def _spent(self, audited: list[AuditedRollout]) -> Usage:
        return spend(audited)

    def _record(
        self, logs: dict[str, float], audited: list[AuditedRollout], usage: Usage, seconds: dict[str, float]
    ) -> None:
        step = self.state.global_step
        records: list[RolloutRecord] = []
        if self._records_rollouts(step):
            records = self._gathered(
                rollout_records(
                    step, self._own, self._anchor_kl, self.args.concentration, self._tokenizer, self.args.anchor_on,
                    label_nll=self._label_nll,
                )
            )
        if not self.accelerator.is_main_process:
            return
        self.recorder.append(
            StepRecord(
                step=step,
                loss=logs["loss/total"],
                chunk_loss=logs["loss/chunk"],
                anchor_loss=logs["loss/anchor"],
                metrics={k: v for k, v in logs.items() if isinstance(v, int | float) and not k.startswith("seconds/")},
                failures=failures(audited),
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cost_usd=usage.cost_usd,
                seconds=with_rest(seconds, logs.get("step_time")),
            )
        )
        if records:
            records += self.probes.records(step, len(records), self.args.concentration, self._tokenizer)
            self.recorder.write_rollouts(step, records)

    def _records_rollouts(self, step: int) -> bool:
        every = self.args.record_every
        return self.recorder is not None and every > 0 and (step == 1 or step % every == 0)
