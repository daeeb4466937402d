"""Ragged audited rollouts → tensors with the batch first, as a trainer permutes and splits them.

Knows the layout of a batch: responses padded on the right to `time`, label slots padded with weight 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from omniopd.method.evidence import ForkTarget
from omniopd.types import AuditedRollout, Rollout

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class TargetBatch:
    """What the loss needs of a batch, per response token.

    `weights` multiply −log π of the sampled token; `audited` marks tokens inside chunks, `anchored` those under the
    anchor. `label_ids`/`label_weights`: other tokens to raise at a position. `continuation_*`: the teacher's texts as
    targets of their own, by where they start in the response; length and weight 0 for padding.
    """

    weights: Float[Tensor, "batch time"]
    audited: Bool[Tensor, "batch time"]
    anchored: Bool[Tensor, "batch time"]
    label_ids: Int[Tensor, "batch time label"]
    label_weights: Float[Tensor, "batch time label"]
    continuation_ids: Int[Tensor, "batch text chunk"]
    continuation_starts: Int[Tensor, "batch text"]
    continuation_lengths: Int[Tensor, "batch text"]
    continuation_weights: Float[Tensor, "batch text"]

    def tensors(self) -> dict[str, Tensor]:
        """By name, for a trainer's batch."""
        return {name: getattr(self, name) for name in self.__slots__}


def packed(items: Iterable[T], cost: Callable[[Sequence[T]], float], limit: float) -> Iterator[list[T]]:
    """The items in their order, as many to a batch as cost at most `limit` together, and at least one."""
    batch: list[T] = []
    for item in items:
        if batch and cost([*batch, item]) > limit:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def rollout_batch(rollouts: Sequence[Rollout], pad_id: int) -> dict[str, Tensor]:
    """Prompts padded on the left, responses on the right, with their masks: a batch as trainers hold it."""
    prompt = max(len(r.prompt_ids) for r in rollouts)
    time = max(len(r) for r in rollouts)
    prompt_ids = torch.full((len(rollouts), prompt), pad_id)
    completion_ids = torch.full((len(rollouts), time), pad_id)
    prompt_mask, completion_mask = torch.zeros_like(prompt_ids), torch.zeros_like(completion_ids)
    for row, r in enumerate(rollouts):
        prompt_ids[row, prompt - len(r.prompt_ids) :] = r.prompt_ids
        prompt_mask[row, prompt - len(r.prompt_ids) :] = 1
        completion_ids[row, : len(r)] = r.token_ids
        completion_mask[row, : len(r)] = 1
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
    }


def sequences(batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, int]:
    """Ids and attention of prompts and responses in one row each, and how many columns the responses take."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    return ids, attention, batch["completion_ids"].shape[1]


def target_batch(
    audited: Sequence[AuditedRollout],
    targets: Sequence[ForkTarget],
    mask: Bool[Tensor, "batch time"],
    anchor_on: str = "unaudited",
    continuation_weight: float = 0.0,
) -> TargetBatch:
    """One padded batch; `targets` run over the audits of all rollouts in order. `mask` marks response tokens.

    `anchor_on` "unaudited" anchors the tokens of no chunk (the paper's), "all" every response token.
    """
    audits = sum(len(rollout.audits) for rollout in audited)
    if len(targets) != audits:
        raise ValueError(f"{len(targets)} targets for {audits} audits: give one target per audit, in order")
    batch, time = mask.shape
    weights, in_chunk = torch.zeros(batch, time), torch.zeros(batch, time, dtype=torch.bool)
    labels: list[tuple[int, int, Mapping[int, float]]] = []
    texts: list[list[tuple[int, tuple[int, ...], float]]] = [[] for _ in audited]
    remaining = iter(targets)
    for row, rollout in enumerate(audited):
        for a in rollout.audits:
            target = next(remaining)
            weights[row, a.fork.start : a.fork.stop] = target.weights
            in_chunk[row, a.fork.start : a.fork.stop] = True
            labels += [(row, a.fork.start + offset, slots) for offset, slots in enumerate(target.labels) if slots]
            if continuation_weight > 0:
                texts[row] += _distinct(a.fork.start, a.continuation_ids, continuation_weight)

    width = max((len(slots) for _, _, slots in labels), default=0)
    label_ids = torch.zeros(batch, time, width, dtype=torch.long)
    label_weights = torch.zeros(batch, time, width)
    # All at once: a scan labels every token, and a tensor for each would take some 3% of a step of the lab.
    filled = [(row, t, at, *slot) for row, t, slots in labels for at, slot in enumerate(slots.items())]
    if filled:
        rows, places, at, ids, counts = zip(*filled, strict=True)
        label_ids[rows, places, at] = torch.tensor(ids)
        label_weights[rows, places, at] = torch.tensor(counts)

    most = max((len(row) for row in texts), default=0)
    longest = max((len(ids) for row in texts for _, ids, _ in row), default=0)
    continuation_ids = torch.zeros(batch, most, longest, dtype=torch.long)
    starts, lengths = torch.zeros(2, batch, most, dtype=torch.long)
    continuation_weights = torch.zeros(batch, most)
    for row, found in enumerate(texts):
        for i, (start, ids, weight) in enumerate(found):
            continuation_ids[row, i, : len(ids)] = torch.tensor(ids)
            starts[row, i], lengths[row, i], continuation_weights[row, i] = start, len(ids), weight

    anchored = mask.clone() if anchor_on == "all" else mask & ~in_chunk.to(mask.device)
    made = TargetBatch(
        weights, in_chunk, anchored, label_ids, label_weights, continuation_ids, starts, lengths, continuation_weights
    )
    return TargetBatch(**{name: value.to(mask.device) for name, value in made.tensors().items()})


def _distinct(
    start: int, texts: Sequence[tuple[int, ...] | None], weight: float
) -> list[tuple[int, tuple[int, ...], float]]:
    """Each different text once, with its share of the usable texts times `weight`."""
    usable = [ids for ids in texts if ids]
    return [(start, ids, weight * usable.count(ids) / len(usable)) for ids in sorted(set(usable))]
