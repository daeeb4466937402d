"""Probes: a few fixed prompts, answered and audited whenever a step's rollouts are recorded, and never learnt from.

The same held-out prompts with the same draws at every recorded step, so that what changes between two records is the
student. They are drawn by counters of their own: a run with probes trains the same student, to the bit, as one without.
They cost what they take of the teacher, which the step's spend includes. Knows the trainer by what it samples with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase
from trl.models.utils import unwrap_model_for_generation

from omniopd.auditing import audit
from omniopd.method.tensors import schedule
from omniopd.models.sampling import sample
from omniopd.models.text.token_text import whole_characters
from omniopd.records import RolloutRecord
from omniopd.training.recording import rollout_records
from omniopd.training.rollouts import compute_on_main
from omniopd.training.statistics import spend
from omniopd.training.trl.seeding import generator_for, seed_for
from omniopd.types import AuditedRollout, Prompt, Rollout, Usage

if TYPE_CHECKING:
    from omniopd.training.trainer import OmniOPDTrainer


@dataclass(slots=True)
class Probes:
    """The prompts, and what became of them at the last recorded step. Rows of records follow those of the batch."""

    prompts: Sequence[Prompt] = ()
    ask: bool = True
    audited: list[AuditedRollout] = field(default_factory=list)

    def answer(self, trainer: OmniOPDTrainer, batch: int) -> None:
        """Sample the prompts from the student as it is now and audit them (`ask`: a white box is not asked); before a
        step that records nothing, forget the last ones. `batch`: rows of the global batch. Every process takes the same
        forwards.
        """
        self.audited = []
        if not self.prompts or not trainer._records_rollouts(trainer.state.global_step + 1):
            return
        with trainer.stopwatch.phase("probes"):
            rollouts = _sampled(trainer, self.prompts)
            if not self.ask:
                self.audited = [AuditedRollout(rollout, ()) for rollout in rollouts]
                return
            self.audited = compute_on_main(trainer.accelerator, lambda: _audited(trainer, rollouts, batch))

    @property
    def usage(self) -> Usage:
        return spend(self.audited)

    def metrics(self) -> dict[str, float]:
        """What the probes took of the teacher, as part of the step's spend; nothing at a step without them."""
        usage = self.usage
        numbers = {"probes/output_tokens": float(usage.output_tokens), "probes/cost_usd": usage.cost_usd}
        return numbers if self.audited else {}

    def records(
        self, step: int, batch: int, concentration: float, tokenizer: PreTrainedTokenizerBase
    ) -> list[RolloutRecord]:
        """One record per probe. No token is anchored and no audit has weights: nothing is learnt from them."""
        rows: dict[int, Any] = {
            batch + place: (item, [None] * len(item.audits)) for place, item in enumerate(self.audited)
        }
        return rollout_records(step, rows, {}, concentration, tokenizer, probe=True)


def _sampled(trainer: OmniOPDTrainer, prompts: Sequence[Prompt]) -> list[Rollout]:
    """One answer to each prompt: the first of those that an evaluation with the run's seed takes."""
    args = trainer.args
    with (
        unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as student,
        torch.no_grad(),
        trainer._dist.summon_full_params(trainer.model_wrapped, recurse=False),
    ):
        return sample(
            student, trainer.tokenizer, prompts, args.max_completion_length, args.temperature, args.seed,
            top_p=args.top_p, top_k=args.top_k or 0,
        )  # fmt: skip


def _audited(trainer: OmniOPDTrainer, rollouts: Sequence[Rollout], batch: int) -> list[AuditedRollout]:
    a = trainer.args
    chooser = generator_for("probes", a.seed, 0)
    forks = [
        schedule(a.scheduler, r.entropies, a.forks, a.chunk_tokens, chooser, allowed=whole_characters(r.pieces))
        for r in rollouts
    ]
    # The teacher's draws too are the same at every step: for an answer that has not changed it says what it said.
    return audit(
        rollouts, forks, trainer.teacher, trainer.similarity, a.samples, tokenizer=trainer.tokenizer,
        seed=seed_for("probes", a.seed, 0), tokens_per_student_token=a.tokens_per_student_token, first_row=batch,
    )  # fmt: skip
