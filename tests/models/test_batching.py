"""Facts about the padded batch: every number lands on its token, and padding carries nothing."""

from __future__ import annotations

import pytest
import torch

from omniopd.method.evidence import ForkTarget
from omniopd.models.batching import TargetBatch, packed, target_batch
from omniopd.types import Audit, AuditedRollout, Continuations, Fork
from tests.builders import rollout

C = 2


def audited(length: int, *audits: tuple[int, tuple[tuple[int, ...] | None, ...]]) -> AuditedRollout:
    """A rollout with audits at (start, the teacher's texts in tokens)."""
    made = tuple(
        Audit(
            Fork(start, start + C, 1.0), "", (0,) * C, ("",) * len(ids), ids, torch.zeros(len(ids)), Continuations(()),
            prior=0.5,
        )
        for start, ids in audits
    )
    return AuditedRollout(rollout(["a"] * length), made)


ROLLOUTS = [
    audited(6, (0, ((7, 8), (7, 8), (9,), None, ())), (3, ((5, 6),))),
    audited(3),
    audited(4, (1, ((9, 9), (4, 4)))),
]
TARGETS = [
    ForkTarget(torch.tensor([0.5, -0.25]), ({7: 0.75, 9: 0.25}, {8: 1.0})),
    ForkTarget(torch.tensor([0.0, 1.0]), ({5: 1.0}, {})),
    ForkTarget(torch.tensor([2.0, 3.0]), ({9: 0.5, 4: 0.25, 3: 0.25},)),
]
MASK = torch.tensor([[1] * 6 + [0], [1] * 3 + [0] * 4, [1] * 4 + [0] * 3]).bool()


def permuted(order: list[int], **settings) -> TargetBatch:
    first = [0, 2, 2]  # where each rollout's targets begin
    targets = [t for row in order for t in TARGETS[first[row] : first[row] + len(ROLLOUTS[row].audits)]]
    return target_batch([ROLLOUTS[row] for row in order], targets, MASK[order], **settings)


def test_weights_stand_on_the_tokens_of_their_chunk():
    made = permuted([0, 1, 2])
    expected = torch.zeros(3, 7)
    expected[0, :5] = torch.tensor([0.5, -0.25, 0.0, 0.0, 1.0])
    expected[2, 1:3] = torch.tensor([2.0, 3.0])
    assert torch.equal(made.weights, expected)


def test_a_token_is_audited_or_anchored_or_padding():
    made = permuted([0, 1, 2])
    inside = torch.zeros(3, 7, dtype=torch.bool)
    for row, starts in enumerate([(0, 3), (), (1,)]):
        for start in starts:
            inside[row, start : start + C] = True
    assert torch.equal(made.audited, inside)
    assert torch.equal(made.anchored, MASK & ~inside)


def test_the_anchor_may_hold_audited_tokens_too_but_never_padding():
    assert torch.equal(permuted([0, 1, 2], anchor_on="all").anchored, MASK)


def test_padding_carries_nothing():
    made = permuted([0, 1, 2], continuation_weight=0.5)
    assert float(made.weights[~MASK].abs().sum()) == 0
    assert float(made.label_weights[~MASK].abs().sum()) == 0
    assert not bool(made.audited[~MASK].any())
    assert not bool(made.anchored[~MASK].any())
    assert bool(((made.continuation_lengths > 0) == (made.continuation_weights > 0)).all())


def test_labels_stand_at_their_offset_in_slots_padded_with_no_weight():
    made = permuted([0, 1, 2])
    assert made.label_ids.shape == (3, 7, 3)
    found = {}
    for row in range(3):
        for t in range(7):
            slots = zip(made.label_ids[row, t].tolist(), made.label_weights[row, t].tolist(), strict=True)
            kept = {token: weight for token, weight in slots if weight}
            if kept:
                found[row, t] = kept
    assert found == {
        (0, 0): {7: 0.75, 9: 0.25}, (0, 1): {8: 1.0}, (0, 3): {5: 1.0}, (2, 1): {9: 0.5, 4: 0.25, 3: 0.25},
    }  # fmt: skip


def test_each_different_text_is_a_target_once_with_its_share_of_the_usable_ones():
    made = permuted([0, 1, 2], continuation_weight=0.5)
    found = []
    for row in range(3):
        for i, length in enumerate(made.continuation_lengths[row].tolist()):
            text = made.continuation_ids[row, i, :length].tolist()
            if length:
                weight = round(float(made.continuation_weights[row, i]), 6)
                found.append((row, int(made.continuation_starts[row, i]), text, weight))
    assert found == [
        (0, 0, [7, 8], round(0.5 * 2 / 3, 6)), (0, 0, [9], round(0.5 / 3, 6)), (0, 3, [5, 6], 0.5),
        (2, 1, [4, 4], 0.25), (2, 1, [9, 9], 0.25),
    ]  # fmt: skip


def test_texts_cost_nothing_where_they_have_no_weight():
    assert permuted([0, 1, 2]).continuation_ids.shape == (3, 0, 0)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0], [2, 1, 0]])
def test_permuting_rows_permutes_everything(order):
    """As a trainer does between sampling and the loss."""
    plain, moved = (permuted(o, continuation_weight=0.5).tensors() for o in ([0, 1, 2], order))
    assert list(plain) == list(moved)
    for name, tensor in plain.items():
        assert torch.equal(tensor[order], moved[name]), name


def test_every_tensor_has_the_batch_first():
    assert {t.shape[0] for t in permuted([0, 1, 2], continuation_weight=1.0).tensors().values()} == {3}


def test_where_nobody_was_asked_the_anchor_holds_every_response_token():
    made = target_batch([], [], MASK)
    assert torch.equal(made.anchored, MASK)
    assert float(made.weights.abs().sum()) == 0
    assert made.label_ids.shape == (3, 7, 0)
    assert made.continuation_weights.shape == (3, 0)


def test_targets_that_do_not_match_the_audits_are_noticed():
    with pytest.raises((StopIteration, ValueError)):
        target_batch(ROLLOUTS, TARGETS[:2], MASK)
    with pytest.raises((StopIteration, ValueError)):
        target_batch(ROLLOUTS, [*TARGETS, TARGETS[0]], MASK)


def test_batches_keep_the_order_and_the_limit_and_an_item_that_is_too_large_goes_alone() -> None:
    assert list(packed([1, 2, 3, 9, 1], sum, 5)) == [[1, 2], [3], [9], [1]]
    assert list(packed([], sum, 5)) == []
