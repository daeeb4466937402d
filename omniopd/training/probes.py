"""Probes: a few fixed prompts, answered and audited whenever a step's rollouts are recorded, and never learnt from.

The same held-out prompts with the same draws at every recorded step, so that what changes between two records is the
student. They are drawn by counters of their own: a run with probes trains the same student, to the bit, as one without.
What they cost is part of the step's spend. Knows no trainer: `on_policy.py` samples them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from omniopd.records import RolloutRecord
from omniopd.training.recording import rollout_records
from omniopd.training.statistics import spend
from omniopd.types import AuditedRollout, Prompt, Usage


@dataclass(slots=True)
class Probes:
    """The prompts, and what became of them at the last recorded step. Rows of records follow those of the batch."""

    prompts: Sequence[Prompt] = ()
    audited: list[AuditedRollout] = field(default_factory=list)

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
