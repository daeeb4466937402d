"""The loss of a micro-batch equals the objective from full logits of each sequence alone, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from omniopd.method.entropy import token_entropy
from omniopd.method.loss import omniopd_loss
from omniopd.models.token_stats import head_of, response_hidden
from omniopd.training.objective import Reference, micro_batch_loss
from tests.builders import tiny_model

PROMPTS, RESPONSES = [5, 3, 4], [7, 4, 6]
P, T, SLOTS = max(PROMPTS), max(RESPONSES) + 1, 2
ANCHOR, NORMALISER = 0.3, 24.0


def batch(seed: int = 0, *, labels: bool = True, continuations: bool = True) -> dict[str, Tensor]:
    """A trainer's batch: prompts padded on the left, responses on the right; tokens audited, anchored, or neither."""
    draw = torch.Generator().manual_seed(seed)
    rows = len(PROMPTS)

    def tokens(*shape: int) -> Tensor:
        return torch.randint(5, 290, shape, generator=draw)

    prompt_mask = torch.stack([torch.arange(P) >= P - n for n in PROMPTS]).long()
    mask = torch.stack([torch.arange(T) < n for n in RESPONSES])
    kind = torch.randint(3, (rows, T), generator=draw)
    slots = SLOTS if labels else 0
    texts = [[(2, 3, 0.5), (2, 1, 0.25)], [], [(0, 2, 1.0), (5, 4, 0.75)]] if continuations else [[]] * rows
    most = max(map(len, texts))
    longest = max((length for row in texts for _, length, _ in row), default=0)
    numbers = torch.zeros(3, rows, most)
    for row, of_row in enumerate(texts):
        for i, values in enumerate(of_row):
            numbers[:, row, i] = torch.tensor(values)
    return {
        "prompt_ids": tokens(rows, P), "prompt_mask": prompt_mask,
        "completion_ids": tokens(rows, T), "completion_mask": mask.long(),
        "weights": torch.randn(rows, T, generator=draw) * (kind == 0) * mask, "audited": (kind == 0) & mask,
        "anchored": (kind == 1) & mask,
        "label_ids": tokens(rows, T, slots),
        "label_weights": torch.rand(rows, T, slots, generator=draw) * (kind == 0)[..., None] * mask[..., None],
        "continuation_ids": tokens(rows, most, longest), "continuation_starts": numbers[0].long(),
        "continuation_lengths": numbers[1].long(), "continuation_weights": numbers[2],
    }  # fmt: skip


def models() -> tuple[nn.Module, nn.Module]:
    return tiny_model(0), tiny_model(1)


def sequence(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Ids and attention of prompts and responses."""
    return tuple(torch.cat([inputs[f"prompt_{of}"], inputs[f"completion_{of}"]], 1) for of in ("ids", "mask"))


def reference_view(model: nn.Module, inputs: dict[str, Tensor]) -> Reference:
    with torch.no_grad():
        return Reference(response_hidden(model, *sequence(inputs), T), head_of(model))


def log_softmax_after(model: nn.Module, prefix: list[int], tokens: list[int]) -> Tensor:
    """log π at each of `tokens`, one sequence alone, no padding, full logits."""
    logits = model(input_ids=torch.tensor([prefix + tokens])).logits[0]
    return logits[len(prefix) - 1 : -1].log_softmax(-1)


def by_hand(student: nn.Module, frozen: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    rows = len(PROMPTS)
    logprobs, kl = torch.zeros(rows, T), torch.zeros(rows, T)
    label_logprobs = torch.zeros(rows, T, inputs["label_ids"].shape[-1])
    extra = torch.zeros(())
    for row in range(rows):
        prefix = inputs["prompt_ids"][row, P - PROMPTS[row] :].tolist()
        response = inputs["completion_ids"][row, : RESPONSES[row]].tolist()
        log_p = log_softmax_after(student, prefix, response)
        with torch.no_grad():
            log_q = log_softmax_after(frozen, prefix, response)
        for t, token in enumerate(response):
            logprobs[row, t] = log_p[t, token]
            kl[row, t] = (log_q[t].exp() * (log_q[t] - log_p[t])).sum()
            for slot, label in enumerate(inputs["label_ids"][row, t].tolist()):
                label_logprobs[row, t, slot] = log_p[t, label]
        for i, weight in enumerate(inputs["continuation_weights"][row].tolist()):
            start, length = (int(inputs[f"continuation_{name}"][row, i]) for name in ("starts", "lengths"))
            text = inputs["continuation_ids"][row, i, :length].tolist()
            if weight:
                log_p = log_softmax_after(student, prefix + response[:start], text)
                extra = extra - weight * log_p[range(length), text].sum()
    extra = extra - (inputs["label_weights"] * label_logprobs).sum()
    loss = omniopd_loss(logprobs, kl, inputs["weights"], inputs["anchored"], ANCHOR, NORMALISER)
    return loss.total + extra / NORMALISER


def gradients(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters)
    return dict(zip(names, found, strict=True))


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("continuations", [False, True])
def test_the_loss_and_its_gradient_are_those_of_each_sequence_alone(labels, continuations):
    student, frozen = models()
    inputs = batch(labels=labels, continuations=continuations)
    expected = by_hand(student, frozen, inputs)
    slow = gradients(expected, student)
    found = micro_batch_loss(student, inputs, reference_view(frozen, inputs), ANCHOR, NORMALISER)
    torch.testing.assert_close(found.total, expected, rtol=1e-4, atol=1e-5)
    for name, gradient in gradients(found.total, student).items():
        torch.testing.assert_close(gradient, slow[name], rtol=2e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_micro_batches_sum_to_the_batch():
    student, frozen = models()
    inputs = batch()
    whole = gradients(
        micro_batch_loss(student, inputs, reference_view(frozen, inputs), ANCHOR, NORMALISER).total, student
    )
    parts = []
    for row in range(len(PROMPTS)):
        own = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
        loss = micro_batch_loss(student, own, reference_view(frozen, own), ANCHOR, NORMALISER).total
        parts.append(gradients(loss, student))
    for name, gradient in whole.items():
        torch.testing.assert_close(sum(p[name] for p in parts), gradient, rtol=2e-3, atol=2e-5)


def test_a_frozen_copy_of_the_student_is_no_distance_away():
    student, _ = models()
    inputs = batch()
    found = micro_batch_loss(student, inputs, reference_view(student, inputs), ANCHOR, NORMALISER)
    assert float(found.anchor_kl.abs().max()) < 1e-6
    assert abs(found.sums.sums["anchor"]) < 1e-6


@torch.no_grad()
def test_what_the_log_wants_to_know():
    student, frozen = models()
    inputs = batch()
    found = micro_batch_loss(student, inputs, reference_view(frozen, inputs), ANCHOR, NORMALISER)
    mask = inputs["completion_mask"].bool()
    entropy, kl, logprobs = 0.0, torch.zeros(len(PROMPTS), T), torch.zeros(len(PROMPTS), T)
    for row in range(len(PROMPTS)):
        prefix = inputs["prompt_ids"][row, P - PROMPTS[row] :].tolist()
        response = inputs["completion_ids"][row, : RESPONSES[row]].tolist()
        log_p, log_q = (log_softmax_after(m, prefix, response) for m in (student, frozen))
        entropy += float(token_entropy(log_p).sum())
        kl[row, : len(response)] = (log_q.exp() * (log_q - log_p)).sum(-1)
        logprobs[row, : len(response)] = log_p[range(len(response)), response]
    assert int(found.tokens) == int(mask.sum())
    assert float(found.entropy_sum) == pytest.approx(entropy, rel=1e-4)
    torch.testing.assert_close(found.anchor_kl, kl, rtol=1e-3, atol=1e-4)
    assert float(found.anchor_kl[~mask].abs().sum()) == 0
    audited, anchored, metrics = inputs["audited"], inputs["anchored"], found.sums.metrics()
    assert metrics["kl/audited"] == pytest.approx(float(kl[audited].mean()), rel=1e-3)
    assert metrics["kl/anchored"] == pytest.approx(float(kl[anchored].mean()), rel=1e-3)
    assert metrics["logprob/audited_min"] == pytest.approx(float(logprobs[audited].min()), rel=1e-4)
    assert metrics["loss/total"] == pytest.approx(float(found.total), rel=1e-4)
    assert metrics["loss/anchor"] == pytest.approx(ANCHOR * float(kl[anchored].sum()) / NORMALISER, rel=1e-3)
    assert metrics["loss/chunk_per_token"] == pytest.approx(metrics["loss/chunk"] * NORMALISER / int(audited.sum()))


def test_each_head_is_projected_once():
    student, frozen = models()
    for parameter in student.parameters():
        parameter.requires_grad_(False)
    inputs = batch(continuations=False)
    reference = reference_view(frozen, inputs)
    micro_batch_loss(student, inputs, reference, ANCHOR, NORMALISER)  # what a model can do is tried once
    with FlopCounterMode(display=False) as forward:
        response_hidden(student, *sequence(inputs), T)
    for concentration in (None, 0.5):
        with FlopCounterMode(display=False) as whole:
            micro_batch_loss(student, inputs, reference, ANCHOR, NORMALISER, concentration=concentration)
        of_heads = whole.get_total_flops() - forward.get_total_flops()
        vocabulary, width = reference.head.weight.shape
        neither = int((inputs["completion_mask"].bool() & ~inputs["audited"] & ~inputs["anchored"]).sum())
        tokens = int(inputs["completion_mask"].sum()) + (-neither % 16)  # a product of few rows is filled up
        assert of_heads == 2 * (2 * tokens * vocabulary * width)


def test_without_a_reference_there_is_no_anchor():
    student, _ = models()
    found = micro_batch_loss(student, batch(continuations=False), None, ANCHOR, NORMALISER)
    assert float(found.anchor_kl.abs().max()) == 0
    assert found.sums.metrics()["loss/anchor"] == 0


def test_an_anchor_without_weight_still_tells_how_far_the_student_went():
    student, frozen = models()
    inputs = batch(continuations=False)
    found = micro_batch_loss(student, inputs, reference_view(frozen, inputs), 0.0, NORMALISER)
    assert found.sums.metrics()["loss/anchor"] == 0
    assert found.sums.metrics()["kl/anchored"] > 0


def test_counts_with_a_concentration_are_the_divergence_to_the_posterior_in_value_and_gradient():
    student, frozen = models()
    inputs = batch(3, continuations=False)
    inputs["label_ids"][..., 1] = inputs["label_ids"][..., 0] + 1  # two different tokens
    inputs["label_weights"] = (8 * inputs["label_weights"]).round()
    inputs["weights"] = torch.zeros_like(inputs["weights"])
    found = micro_batch_loss(student, inputs, reference_view(frozen, inputs), ANCHOR, NORMALISER, concentration=0.5)
    fast = torch.autograd.grad(found.total, list(student.parameters()), allow_unused=True)

    expected, per_token = torch.zeros(()), torch.zeros(len(PROMPTS), T)
    for row in range(len(PROMPTS)):
        prefix = inputs["prompt_ids"][row, P - PROMPTS[row] :].tolist()
        response = inputs["completion_ids"][row, : RESPONSES[row]].tolist()
        log_p = log_softmax_after(student, prefix, response)
        log_q = log_softmax_after(frozen, prefix, response).detach()
        for t in range(len(response)):
            counts = torch.zeros(log_p.shape[-1])
            counts[inputs["label_ids"][row, t]] = inputs["label_weights"][row, t]
            smoothed = (counts + 0.5 * log_p[t].exp().detach()) / (counts.sum() + 0.5)
            divergence = (log_p[t].exp() * (log_p[t] - smoothed.log())).sum()
            per_token[row, t] = divergence.detach()
            expected = expected + divergence / NORMALISER
            if inputs["anchored"][row, t]:
                expected = expected + ANCHOR * (log_q[t].exp() * (log_q[t] - log_p[t])).sum() / NORMALISER
    slow = torch.autograd.grad(expected, list(student.parameters()), allow_unused=True)

    torch.testing.assert_close(found.total, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.label_nll, per_token, rtol=1e-4, atol=2e-6)
    assert float(found.sums.sums["chunk"]) == pytest.approx(float(per_token.sum()) / NORMALISER, rel=1e-4)
    for ours, theirs in zip(fast, slow, strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
