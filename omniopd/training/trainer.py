"""`OmniOPDTrainer`: on-policy distillation from a teacher that is only read.

Adds the audit to the student's answers (`_set_targets`) and replaces TRL's loss (`_compute_loss`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.auditing import audit_as_set, evidence, made_of, similarity_named
from omniopd.errors import ConfigError
from omniopd.io.processes import gathered, on_main
from omniopd.method.forks import SCHEDULERS
from omniopd.method.targets import TARGETS
from omniopd.method.tensors import fork_targets
from omniopd.models.batching import sequences, target_batch
from omniopd.models.loading import load_model, load_tokenizer
from omniopd.models.token_stats import as_reference, head_of, response_hidden
from omniopd.teachers.cache.identity import check_token_ratio, layers, sampling_of
from omniopd.teachers.checks.context import check_shown
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.privileged import local_below, sees_more
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.background import Work
from omniopd.training.checks.architecture import measure
from omniopd.training.checks.preflight import check_batch, check_run
from omniopd.training.continuations import continuation_parts
from omniopd.training.objective import Reference, micro_batch_loss
from omniopd.training.on_policy import StepTotals
from omniopd.training.overlap import Overlapping, corrected
from omniopd.training.parts import TrainerParts
from omniopd.training.recording import Recorder
from omniopd.training.reference import frozen_start, said, start_beside
from omniopd.training.resolve_teacher import resolve_teacher
from omniopd.training.rollouts import as_prompts, local_shard
from omniopd.training.statistics import LossSums, audit_statistics, failures, spend
from omniopd.training.trl.learning import why_untaught
from omniopd.training.trl.seeding import generator_for, seed_for
from omniopd.types import AuditedRollout, Prompt, Rollout, Similarity, Teacher, Usage

__all__ = ["OmniOPDConfig", "OmniOPDTrainer", "Recorder"]
_MOST_LOOKED_AT = 100_000  # prompts, of data that may be a stream


class OmniOPDTrainer(Overlapping):
    """Train a student on the texts of a teacher by OmniOPD (arXiv 2606.01476).

    Args:
        model: the student, a model or an id or folder.
        teacher: a `Teacher`; or a name: a folder, a hub id, or a model behind an API as litellm writes it.
        args: `OmniOPDConfig`.
        train_dataset: rows with a `prompt` (text or chat messages), a data set or any iterable of dicts; `id` and
            `answer` travel into the records, a `solution` to a teacher that may see it (`PrivilegedTeacher`).
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
        train_dataset = check_run(model, tokenizer, args, train_dataset, adapter=peft_config is not None)
        reference, given = (frozen_start(model, teacher, args), None) if peft_config is None else (None, said(model))
        start = model if reference is None else reference
        self.teacher = resolve_teacher(teacher, args.control, start, tokenizer, train_dataset, args.seed)
        some = [m["content"] for prompt in as_prompts([*islice(train_dataset, 200)]) for m in prompt.messages]
        check_token_ratio(self.teacher, tokenizer, args.tokens_per_student_token, some)
        if sees_more(self.teacher):
            asked = [*as_prompts([*islice(train_dataset, _MOST_LOOKED_AT)]), *probes]
            check_shown(
                self.teacher, asked, tokenizer, args.max_completion_length or 0, args.tokens_per_student_token
            )
        self.similarity = similarity or similarity_named(args.similarity, args.power, args.embedding_model)
        self._audited: list[AuditedRollout] = []
        self._audited_before = False
        super().__init__(
            model,
            reference,
            args,
            train_dataset,
            tokenizer,
            recorder,
            probes,
            eval_dataset=eval_dataset,
            callbacks=callbacks,
            optimizers=optimizers,
            peft_config=peft_config,
        )
        measure(self.model)  # with its adapter, while the weights are whole
        beside = None if given is None else start_beside(self.model, given)
        if beside is not None:
            self.teacher_model = self.accelerator.prepare_model(beside, evaluation_mode=True)
        if args.redraws and self.accelerator.distributed_type in ("FSDP", "DEEPSPEED"):
            raise ConfigError(
                f"redraws is {args.redraws} under {self.accelerator.distributed_type.value}: one process alone cannot "
                "draw from weights in pieces, so use redraws=0, or whole weights in each process"
            )

    # ── the audit ────────────────────────────────────────────────────────────────────────────────────────────────

    def _set_targets(self, output: dict[str, Any], inputs: list[dict[str, Any]], step: int) -> None:
        """Adds a `TargetBatch` and `row_id` to the batch."""
        a = self.args
        answers = self._answers
        if answers is not None:
            rollouts, audited = answers.rollouts, self._waited_for(answers)
        else:
            rollouts = self._scored_rollouts(output, inputs, score=self._scores(step))
            with self.stopwatch.phase("teacher"):
                audited = self._audit_shares(
                    rollouts, generator_for("forks", a.seed, step), seed_for("teacher", a.seed, step),
                    self.stopwatch.timed(self.similarity), redraws=a.redraws,
                    student=self._student_as_teacher() if a.redraws else None,
                )  # fmt: skip
        targets = fork_targets(
            evidence(audited), a.target, a.control, a.concentration, a.depth, generator_for("shuffled", a.seed, step)
        )
        targets = made_of(audited, targets)
        check_batch(audited, a, not self._audited_before, sampling_of(self.teacher).get("temperature"))
        self._untaught = why_untaught(audited, targets, a)
        self._audited, self._audited_before = audited, True
        first = self.accelerator.process_index * len(rollouts)
        own, own_targets = local_shard(audited, targets, first, len(rollouts))
        if answers is not None and answers.sampled_at < step and TARGETS[a.target].gives == "weights":
            own_targets, moved = corrected(own, own_targets, self._scored(rollouts))
            for name, value in moved.items():
                self._metrics["train"][name].append(value)
        mask = output["completion_mask"].bool()
        batch = target_batch(own, [t for row in own_targets for t in row], mask, a.anchor_on, a.continuation_weight)
        output.update(batch.tensors())
        output["row_id"] = self._keep(own, own_targets, mask.device)
        for name, value in audit_statistics(audited, targets).items():
            self._metrics["train"][name].append(value)

    def _audit_probes(self, rollouts: list[Rollout], first_row: int) -> list[AuditedRollout]:
        # All draws are the same at every step: for an answer that has not changed the teacher says what it said.
        seed = self.args.seed
        ask = partial(
            self._audit, rollouts, generator_for("probes", seed, 0), seed_for("probes", seed, 0), self.similarity,
            first_row=first_row,
        )  # fmt: skip
        return on_main(ask)

    def _audit_shares(
        self, own: Sequence[Rollout], chooser: torch.Generator, seed: int, similarity: Similarity, **more: Any
    ) -> list[AuditedRollout]:
        """The answers of all processes, audited: by the main one, which has the cache and the budget; where the teacher
        runs here, by each its own, since draws are those of a row."""
        if not self._asks_in_shares():
            everyone = gathered(own)
            return on_main(lambda: self._audit(everyone, chooser, seed, similarity, **more))
        first_row = self.accelerator.process_index * len(own)
        return gathered(self._audit(own, chooser, seed, similarity, first_row, **more))

    def _audit(
        self, rollouts: Sequence[Rollout], chooser: torch.Generator, seed: int, similarity: Similarity,
        first_row: int = 0, **more: Any,
    ) -> list[AuditedRollout]:  # fmt: skip
        return audit_as_set(
            self.args.audit, rollouts, self.teacher, self.tokenizer, chooser, seed, similarity,
            self.args.tokens_per_student_token, first_row, **more,
        )  # fmt: skip

    # ── the audit beside sampling and learning (overlap.py) ──────────────────────────────────────────────────────

    def _asks_in_shares(self) -> bool:
        return local_below(self.teacher) is not None and not SCHEDULERS[self.args.scheduler].draws

    def _audit_threads(self) -> int:
        if local_below(self.teacher) is not None:
            return 0
        # One of the user's own may not stand being asked from several threads; what draws, draws in the rows' order.
        hosted = any(isinstance(layer, HostedTeacher) for layer in layers(self.teacher))
        several = hosted and not SCHEDULERS[self.args.scheduler].draws
        return 2 * self.args.waves * self.accelerator.num_processes if several else 1

    def _scores(self, step: int) -> bool:
        a = self.args
        corrects = a.staleness > 0 and TARGETS[a.target].gives == "weights"
        return a.reads_student or corrects or self._records_rollouts(step + 1)

    def _audits_of(self, rollouts: list[Rollout], step: int, first: int) -> list[tuple[int, Work]]:
        a, chooser = self.args, generator_for("forks", self.args.seed, step)
        seed = seed_for("teacher", a.seed, step)
        if self._asks_in_shares():
            similarity = self.stopwatch.timed(self.similarity)
            return [(first, partial(self._audit, rollouts, chooser, seed, similarity, first))]
        everyone, size = gathered(rollouts), len(rollouts)
        if not self.accelerator.is_main_process:
            return []
        own = a.per_device_train_batch_size * a.gradient_accumulation_steps
        parts = [(own * i + first, everyone[size * i : size * (i + 1)]) for i in range(len(everyone) // size)]
        return [(row, partial(self._audit, part, chooser, seed, self.similarity, row)) for row, part in parts]

    def _student_as_teacher(self) -> Teacher:
        return LocalTeacher(self.accelerator.unwrap_model(self.model_wrapped), self.tokenizer)

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
                self._reference(unwrapped_student, inputs) if self._measures_anchor() else None,
                self.args.anchor_weight,
                self._normaliser(),
                self.temperature,
                self._continuation_forwards(unwrapped_student, inputs),
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

    def _measures_anchor(self) -> bool:
        """Without a weight the anchor is a number to look at, and costs a forward: told where rollouts are recorded."""
        return self.args.anchor_weight > 0 or self._records_rollouts(self.state.global_step + 1)

    def _reference(self, student: nn.Module, inputs: dict[str, Any]) -> Reference:
        sequence = sequences(inputs)
        if self.teacher_model is None:
            with as_reference(student, student) as frozen:
                return Reference(response_hidden(frozen, *sequence), head_of(frozen))
        frozen = self.accelerator.unwrap_model(self.teacher_model)
        with torch.no_grad():
            self.teacher_model.eval()
            hidden = self._forward_redirection(self.teacher_model, frozen, response_hidden, frozen, *sequence)
        return Reference(hidden, head_of(frozen))

    def _anchor_only(self, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """In evaluation nobody is asked: the loss is the anchor on every token."""
        return target_batch([], [], inputs["completion_mask"].bool()).tensors()

    # ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _totals(self, seconds: dict[str, float]) -> StepTotals | None:
        audited, self._audited = self._audited, []
        if not audited:
            return None
        # What was paid before the run was resumed costs nothing again where a cache has it; a local teacher has none.
        here = local_below(self.teacher) is not None
        paid = Usage() if self._answers is None or here else self._answers.paid
        usage = self._spent(audited) + paid + self.probes.usage
        sums = LossSums.joined(gathered([self._loss_sums])).metrics(self.accelerator.num_processes)
        metrics = {
            **sums,
            "teacher/input_tokens": usage.input_tokens,
            "teacher/output_tokens": usage.output_tokens,
            "teacher/cost_usd": usage.cost_usd,
            **self.probes.metrics(),
            **{f"seconds/{phase}": value for phase, value in seconds.items()},
        }
        loss, chunk, anchor = (sums[f"loss/{part}"] for part in ("total", "chunk", "anchor"))
        return StepTotals(loss, chunk, anchor, usage, failures(audited), metrics)

    def _spent(self, audited: list[AuditedRollout]) -> Usage:
        return spend(audited)


def build(parts: TrainerParts) -> OmniOPDTrainer:
    return OmniOPDTrainer(teacher=parts.teacher, **parts.on_policy)
