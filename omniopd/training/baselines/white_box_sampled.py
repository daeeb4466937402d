"""White-box OPD by sampled tokens: the teacher's log-probability of each token that the student drew, nothing more.

The policy gradient of KL(π_θ‖π_teacher) with every later token left out: each token weighs log π_teacher − log π_θ,
detached. What a provider that returns log-probabilities would allow, and what full vocabulary is compared with.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from omniopd.errors import ConfigError
from omniopd.io.processes import gathered
from omniopd.models.architecture.reading import way_of
from omniopd.models.batching import target_batch
from omniopd.models.score import score
from omniopd.teachers.local import LocalTeacher
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.checks.preflight import refuse_overlap
from omniopd.training.parts import TrainerParts
from omniopd.training.trainer import OmniOPDTrainer
from omniopd.types import AuditedRollout, Rollout, Usage


class SampledTokenTrainer(OmniOPDTrainer):
    """`OmniOPDTrainer` whose weights are the teacher's log-ratios on all tokens. Its `teacher` is a `LocalTeacher`.

    The loss is the sum over tokens divided by the normaliser, as OmniOPD's chunk term is; there is no anchor.
    """

    _name = "white-box OPD, sampled token"

    def __init__(self, model: Any, teacher: Any, args: OmniOPDConfig | None = None, *rest: Any, **options: Any) -> None:
        if args is not None:
            refuse_overlap(args, self._name)
        super().__init__(model, teacher, args, *rest, **options)

    def _set_targets(self, output: dict[str, Any], inputs: list[dict[str, Any]], step: int) -> None:
        rollouts = self._scored_rollouts(output, inputs)
        with self.stopwatch.phase("teacher"):
            weights = self._log_ratios(rollouts)
        mask = output["completion_mask"].bool()
        own = [AuditedRollout(r, ()) for r in rollouts]
        batch = target_batch(own, [], mask).tensors()
        batch["weights"] = padded_rows(weights, mask)
        batch["audited"], batch["anchored"] = mask.clone(), torch.zeros_like(mask)
        output.update(batch)
        output["row_id"] = self._keep(own, [[] for _ in own], mask.device)
        self._audited = gathered(own)
        everything = torch.tensor(gathered(torch.cat(weights).tolist()))
        lengths = gathered([*map(len, rollouts)])
        metrics = self._metrics["train"]
        metrics["length/mean"].append(sum(lengths) / len(lengths))
        metrics["target/mean"].append(float(everything.mean()))
        metrics["target/std"].append(float(everything.std()))
        metrics["target/negative_share"].append(float((everything < 0).float().mean()))

    def _audit_probes(self, rollouts: list[Rollout], first_row: int) -> list[AuditedRollout]:
        return [AuditedRollout(rollout, ()) for rollout in rollouts]  # its texts are not what is learnt from

    def _spent(self, audited: list[AuditedRollout]) -> Usage:
        """The teacher reads every answer once, with its prompt, and writes nothing."""
        return Usage(input_tokens=sum(len(item.rollout.prompt_ids) + len(item.rollout) for item in audited))

    def _log_ratios(self, rollouts: list[Rollout]) -> list[Tensor]:
        if not isinstance(self.teacher, LocalTeacher):
            raise ConfigError(
                f"method is white_box_sampled and the teacher a {type(self.teacher).__name__}: its log-probabilities "
                "are needed, so give one that runs here"
            )
        theirs = score(self.teacher.model, self._tokenizer, rollouts, temperature=self.teacher.temperature)
        return [teacher.logprobs - own.logprobs for teacher, own in zip(theirs, rollouts, strict=True)]


def build(parts: TrainerParts) -> SampledTokenTrainer:
    way_of(parts.teacher.model)  # one that cannot continue a text is told of here
    return SampledTokenTrainer(teacher=parts.teacher, **parts.on_policy)


def padded_rows(rows: list[Tensor], mask: Tensor) -> Tensor:
    """Rows of different lengths as one matrix of the mask's shape, 0 behind their ends."""
    made = pad_sequence([*rows, torch.zeros(mask.shape[1])], batch_first=True)[:-1]
    return made.to(mask.device)
