"""Continuation cross-entropy, as one tree a rollout or as a row a text, equals that of each text read alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from omniopd.models.architecture.tree_attention import supports_trees
from omniopd.training import continuations
from omniopd.training.continuations import continuation_loss, continuation_parts
from tests.builders import eager_model, gpt2_model, sliding_model, tiny_model

PROMPTS, RESPONSES = [5, 3, 4, 2], [7, 4, 9, 6]
NORMALISER = 24.0


def batch(seed: int = 0, texts: int = 9, longest: int = 5) -> dict[str, Tensor]:
    """Prompts padded on the left, responses on the right; texts at any fork, some without weight, a row without any."""
    draw = torch.Generator().manual_seed(seed)
    rows, prompt, time = len(PROMPTS), max(PROMPTS) + 1, max(RESPONSES) + 1

    def whole(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=draw)

    starts = torch.stack([whole(0, n, texts) for n in RESPONSES])
    weights = torch.rand(rows, texts, generator=draw) * (whole(0, 4, rows, texts) > 0)
    weights[1] = 0
    return {
        "prompt_ids": whole(5, 290, rows, prompt), "completion_ids": whole(5, 290, rows, time),
        "prompt_mask": torch.stack([torch.arange(prompt) >= prompt - n for n in PROMPTS]).long(),
        "completion_mask": torch.stack([torch.arange(time) < n for n in RESPONSES]).long(),
        "continuation_ids": whole(5, 290, rows, texts, longest), "continuation_starts": starts,
        "continuation_lengths": whole(1, longest + 1, rows, texts), "continuation_weights": weights,
    }  # fmt: skip


def by_hand(student: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Each text alone behind its prefix: no padding, no mask, full logits."""
    total = torch.zeros(())
    for row, text in (inputs["continuation_weights"] > 0).nonzero().tolist():
        start, length = (int(inputs[f"continuation_{name}"][row, text]) for name in ("starts", "lengths"))
        prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()].tolist()
        prefix = prompt + inputs["completion_ids"][row, :start].tolist()
        tokens = inputs["continuation_ids"][row, text, :length].tolist()
        logits = student(input_ids=torch.tensor([prefix + tokens])).logits[0, len(prefix) - 1 : -1]
        logprobs = logits.log_softmax(-1)[range(length), tokens]
        total = total - inputs["continuation_weights"][row, text] * logprobs.sum()
    return total / NORMALISER


def sliding() -> nn.Module:
    return sliding_model(window=4)


def gradient(loss: Tensor, model: nn.Module) -> Tensor:
    found = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("made", "trees"),
    [(tiny_model, True), (eager_model, True), (gpt2_model, True), (tiny_model, False), (sliding, None)],
)
def test_the_loss_and_its_gradient_are_those_of_each_text_read_alone(made, trees, seed):
    student, inputs = made(), batch(seed)
    expected = by_hand(student, inputs)
    found = continuation_loss(student, inputs, NORMALISER, trees=trees)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient(found, student), gradient(expected, student), rtol=2e-3, atol=2e-5)


def test_a_model_whose_layers_see_a_window_gets_a_row_for_each_text():
    inputs = batch()
    texts = int((inputs["continuation_weights"] > 0).sum())
    assert not supports_trees(sliding())
    assert continuation_parts(sliding(), inputs, rows_at_once=1) == texts
    assert continuation_parts(tiny_model(), inputs, rows_at_once=1) == 3  # the rollouts that have texts


@pytest.fixture
def shapes(monkeypatch):
    """Of the forwards, as they are made."""
    seen: list[tuple[int, ...]] = []
    whole = continuations.sequence_hidden

    def sequence_hidden(student, ids, attention, positions):
        seen.append(tuple(ids.shape))
        return whole(student, ids, attention, positions)

    monkeypatch.setattr(continuations, "sequence_hidden", sequence_hidden)
    return seen


@pytest.mark.parametrize("longest", [1, 5])
def test_a_rollout_is_read_once_up_to_its_last_fork_and_a_text_without_its_last_token(shapes, longest):
    inputs = batch(longest=longest)
    continuation_loss(tiny_model(), inputs, NORMALISER)
    has_weight = inputs["continuation_weights"] > 0
    last_fork = int(inputs["continuation_starts"][has_weight].max())
    added = int(((inputs["continuation_lengths"] - 1) * has_weight).sum(1).max())
    assert (added == 0) == (longest == 1)
    assert shapes == [(3, max(PROMPTS) + 1 + last_fork + added)]


def test_texts_that_fit_behind_their_rollout_are_not_parted(monkeypatch):
    inputs = batch()
    added = ((inputs["continuation_lengths"] - 1) * (inputs["continuation_weights"] > 0)).sum(1)
    monkeypatch.setattr(continuations, "TREE_TOKENS", int(added.max()) + 1)
    assert continuation_parts(tiny_model(), inputs, rows_at_once=1) == 3


def test_no_row_is_longer_than_its_texts_need(shapes, monkeypatch):
    monkeypatch.setattr(continuations, "TREE_TOKENS", 4)
    inputs = batch()
    continuation_loss(tiny_model(), inputs, NORMALISER)
    [(_, width)] = shapes
    assert width <= max(PROMPTS) + 1 + max(RESPONSES) + 4 + inputs["continuation_ids"].shape[-1] - 1


@pytest.mark.parametrize("tokens", [1, 4, 11])
def test_more_texts_than_go_behind_one_rollout_go_behind_copies_of_it(monkeypatch, tokens):
    student, inputs = tiny_model(), batch(1)
    whole = continuation_loss(student, inputs, NORMALISER)
    assert continuation_parts(student, inputs, rows_at_once=1) == 3
    monkeypatch.setattr(continuations, "TREE_TOKENS", tokens)
    assert continuation_parts(student, inputs, rows_at_once=1) > 3
    apart = continuation_loss(student, inputs, NORMALISER)
    torch.testing.assert_close(apart, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient(apart, student), gradient(whole, student), rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("trees", [True, False])
def test_texts_in_several_forwards_teach_the_same(trees):
    student, inputs = tiny_model(), batch(2)
    together, apart = (continuation_loss(student, inputs, NORMALISER, rows_at_once=n, trees=trees) for n in (64, 1))
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient(together, student), gradient(apart, student), rtol=2e-3, atol=2e-5)


def test_forwards_that_only_keep_step_with_other_processes_change_nothing():
    student, inputs = tiny_model(), batch()
    alone, in_step = (continuation_loss(student, inputs, NORMALISER, forwards=n) for n in (None, 3))
    assert torch.equal(alone, in_step)
    assert torch.equal(gradient(alone, student), gradient(in_step, student))
    without = {**inputs, "continuation_weights": torch.zeros_like(inputs["continuation_weights"])}
    assert continuation_parts(student, without) == 0
    assert float(gradient(continuation_loss(student, without, NORMALISER, forwards=1), student).abs().max()) == 0
