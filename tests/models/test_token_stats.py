"""Facts about scoring a head: exact against float64, gradients included, in tiles and by both kernels."""

from __future__ import annotations

import random

import pytest
import torch

from omniopd.errors import ConfigError
from omniopd.models import chunked_stats
from omniopd.models.chunked_stats import Head, Labels, Reference
from omniopd.models.token_stats import TokenStatistics, token_statistics, weighted_head_loss

# PEFT reads a property that transformers is renaming.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

ENTROPY_NATS = 2e-5
KL_RELATIVE, KL_NATS = 1e-4, 3e-6


def problem(seed: int, vocab: int, tokens: int, width: int, *, distance: float = 0.1, labels: int = 0, **head):
    """A random student and a reference at some distance, with logits of realistic spread; all in float32."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    weight = normal(vocab, width) * 3 / width**0.5
    values = {
        "hidden": normal(tokens, width),
        "head": Head(weight, **head),
        "targets": torch.randint(vocab, (tokens,), generator=draw),
        "chunk_weights": normal(tokens) * (torch.rand(tokens, generator=draw) < 0.4),
        "reference": Reference(
            normal(tokens, width), Head(weight + distance * normal(vocab, width) / width**0.5, **head)
        ),
        "anchor_weights": torch.rand(tokens, generator=draw) * (torch.rand(tokens, generator=draw) < 0.6),
    }
    states = values["hidden"] + distance * values["reference"].hidden
    values["reference"] = Reference(states, values["reference"].head)
    if labels:
        ids = torch.randint(vocab, (tokens, labels), generator=draw)
        values["labels"] = Labels(ids, normal(tokens, labels).clamp(min=0))
    return values


def in_dtype(values: dict, dtype: torch.dtype) -> dict:
    def cast(value):
        if isinstance(value, Head):
            bias = None if value.bias is None else value.bias.to(dtype)
            return Head(value.weight.to(dtype), bias, value.scale, value.softcap)
        if isinstance(value, Reference):
            return Reference(cast(value.hidden), cast(value.head))
        if isinstance(value, Labels):
            return Labels(value.ids, cast(value.weights))
        return value.to(dtype) if value.is_floating_point() else value

    return {name: cast(value) for name, value in values.items()}


def plain_statistics(
    hidden, head: Head, targets, reference: Reference | None = None, temperature: float = 1.0
) -> TokenStatistics:
    """`token_statistics` in plain torch with full logits: slow, large, differentiable in everything."""

    def log_softmax(states, head: Head):
        logits = states @ head.weight.t() + (0 if head.bias is None else head.bias)
        logits = logits * head.scale
        if head.softcap is not None:
            logits = head.softcap * torch.tanh(logits / head.softcap)
        return torch.log_softmax(logits / temperature, dim=-1)

    log_p, anchor_kl = log_softmax(hidden, head), None
    if reference is not None:
        log_q = log_softmax(reference.hidden, reference.head).detach()
        anchor_kl = (log_q.exp() * (log_q - log_p)).sum(-1)
    entropies = -(log_p.exp() * log_p).sum(-1)
    return TokenStatistics(log_p.gather(-1, targets.unsqueeze(-1)).squeeze(-1), entropies, anchor_kl)


def plain_loss(values: dict, temperature: float = 1.0) -> torch.Tensor:
    """The loss with full logits, straight from its formula."""
    hidden, head = values["hidden"], values["head"]
    found = plain_statistics(hidden, head, values["targets"], values["reference"], temperature)
    total = (-values["chunk_weights"] * found.logprobs + values["anchor_weights"] * found.anchor_kl).sum()
    for k in range(values["labels"].ids.shape[1] if "labels" in values else 0):
        of_label = plain_statistics(hidden, head, values["labels"].ids[:, k], temperature=temperature)
        total = total - (values["labels"].weights[:, k] * of_label.logprobs).sum()
    return total


def gradients(values: dict, loss_of) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A loss and its gradients in the hidden states and in the head's parameters."""
    head = values["head"]
    bias = None if head.bias is None else head.bias.clone().requires_grad_()
    hidden, weight = values["hidden"].clone().requires_grad_(), head.weight.clone().requires_grad_()
    loss = loss_of({**values, "hidden": hidden, "head": Head(weight, bias, head.scale, head.softcap)})
    loss.backward()
    return loss.detach(), [leaf.grad for leaf in (hidden, weight, bias) if leaf is not None]


def assert_gradients_close(found: list[torch.Tensor], exact: list[torch.Tensor]) -> None:
    for ours, theirs in zip(found, exact, strict=True):
        error = (ours.double() - theirs.double()).norm()
        assert error <= 1e-4 * theirs.double().norm() + 1e-6


def random_shapes(count: int):
    """Vocabularies of 1,000 to 152,000, 300,000 logits at most, references from almost equal to far away."""
    draw = random.Random(0)
    for seed in range(count):
        vocab = round(1_000 * 152 ** draw.random())
        tokens = draw.randint(1, max(1, 300_000 // vocab))
        yield seed, vocab, tokens, draw.randint(2, 96), 10 ** draw.uniform(-3, 0.3)


@pytest.mark.parametrize(
    ("seed", "vocab", "tokens", "width", "distance"),
    [*random_shapes(25), (0, 32_000, 130, 48, 0.1), (0, 151_936, 6, 64, 0.05)],
)
def test_statistics_and_gradients_are_those_of_float64(seed, vocab, tokens, width, distance):
    values = problem(seed, vocab, tokens, width, distance=distance, labels=seed % 3)
    exact_values = in_dtype(values, torch.float64)
    asked = {name: values[name] for name in ("hidden", "head", "targets", "reference")}
    found = token_statistics(**asked)
    exact = plain_statistics(**{name: exact_values[name] for name in asked})
    assert (found.entropies.double() - exact.entropies).abs().max() <= ENTROPY_NATS
    assert (found.logprobs.double() - exact.logprobs).abs().max() <= ENTROPY_NATS
    allowed = torch.maximum(KL_RELATIVE * exact.anchor_kl, torch.tensor(KL_NATS, dtype=torch.float64))
    assert bool(((found.anchor_kl.double() - exact.anchor_kl).abs() <= allowed).all())

    loss, grads = gradients(values, lambda v: weighted_head_loss(**v).total)
    exact_loss, exact_grads = gradients(exact_values, plain_loss)
    torch.testing.assert_close(loss.double(), exact_loss, rtol=1e-4, atol=1e-5)
    assert_gradients_close(grads, exact_grads)


@pytest.mark.parametrize(
    "head", [{}, {"scale": 0.5}, {"softcap": 5.0}, {"scale": 1.5, "softcap": 8.0}, {"bias": torch.linspace(-1, 1, 700)}]
)
@pytest.mark.parametrize("kernel", ["tokens", "trl"])
def test_both_kernels_give_the_loss_of_full_logits(kernel, head):
    values = problem(5, 700, 40, 24, labels=3, **head)
    values["chunk_weights"][:4], values["anchor_weights"][:4], values["labels"].weights[:4] = 0, 0, 0
    loss, grads = gradients(values, lambda v: weighted_head_loss(**v, temperature=0.7, kernel=kernel).total)
    exact, exact_grads = gradients(in_dtype(values, torch.float64), lambda v: plain_loss(v, temperature=0.7))
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=1e-5)
    assert_gradients_close(grads, exact_grads)


def test_both_kernels_report_the_same_parts_and_tokens():
    values = problem(9, 900, 50, 16, labels=2)
    ours, trls = (weighted_head_loss(**values, kernel=kernel) for kernel in ("tokens", "trl"))
    for name in ("total", "chunk", "anchor", "labels"):
        torch.testing.assert_close(getattr(ours, name), getattr(trls, name), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.total, ours.chunk + ours.anchor + ours.labels)
    chunked, anchored = values["chunk_weights"] != 0, values["anchor_weights"] != 0
    torch.testing.assert_close(ours.logprobs[chunked], trls.logprobs[chunked], rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(ours.anchor_kl[anchored], trls.anchor_kl[anchored], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.entropies, trls.entropies, rtol=1e-5, atol=2e-5, equal_nan=True)
    assert ours.anchor_kl[~anchored].isnan().all()


def test_tiles_do_not_change_the_result(monkeypatch):
    values = problem(4, 500, 83, 12, labels=2)
    loss, grads = gradients(values, lambda v: weighted_head_loss(**v).total)
    monkeypatch.setattr(chunked_stats, "LEAST_ROWS", 7)
    monkeypatch.setattr(chunked_stats, "TILE_LOGITS", 1)
    monkeypatch.setattr(chunked_stats, "BLOCK_LOGITS", 1)
    tiled_loss, tiled_grads = gradients(values, lambda v: weighted_head_loss(**v).total)
    torch.testing.assert_close(loss, tiled_loss, rtol=1e-6, atol=1e-6)
    assert_gradients_close(tiled_grads, grads)


def test_sixteen_bit_inputs_are_accumulated_in_thirty_two():
    values = in_dtype(problem(6, 32_000, 20, 64), torch.bfloat16)
    exact_values = in_dtype(values, torch.float64)
    asked = ("hidden", "head", "targets", "reference")
    found = token_statistics(**{name: values[name] for name in asked})
    exact = plain_statistics(**{name: exact_values[name] for name in asked})
    assert (found.entropies.double() - exact.entropies).abs().max() <= ENTROPY_NATS
    with torch.autocast("cpu", torch.bfloat16):  # must not round the logits either
        under_autocast = token_statistics(**{name: values[name] for name in asked})
    assert torch.equal(found.entropies, under_autocast.entropies)
    _, grads = gradients(values, lambda v: weighted_head_loss(**v).total)
    _, exact_grads = gradients(exact_values, plain_loss)
    assert all(ours.dtype == torch.bfloat16 for ours in grads)
    for ours, theirs in zip(grads, exact_grads, strict=True):
        assert (ours.double() - theirs).norm() <= 2**-8 * theirs.norm()  # one rounding to bfloat16, at the end


def test_equal_models_have_no_divergence():
    values = problem(8, 5_000, 20, 32)
    itself = Reference(values["hidden"], values["head"])
    same = token_statistics(values["hidden"], values["head"], values["targets"], itself)
    assert same.anchor_kl.abs().max() <= KL_NATS


def test_very_large_logits_stay_finite():
    values = problem(3, 1_000, 8, 16)
    loud = Head(values["head"].weight * 1e4)
    found = token_statistics(values["hidden"], loud, values["targets"])
    assert found.logprobs.isfinite().all()
    assert found.entropies.abs().max() < 1e-3


@pytest.mark.parametrize("kernel", ["tokens", "trl"])
def test_a_loss_without_terms_is_zero_and_has_a_gradient_of_zero(kernel):
    values = problem(1, 300, 6, 8)
    values["chunk_weights"], values["anchor_weights"] = torch.zeros(6), torch.zeros(6)
    hidden = values["hidden"].requires_grad_()
    loss = weighted_head_loss(**values, kernel=kernel)
    loss.total.backward()
    assert loss.total == 0
    assert not hidden.grad.any()


def test_the_reference_is_not_projected_for_tokens_without_an_anchor():
    values = problem(7, 300, 10, 8)
    values["anchor_weights"][5:] = 0
    values["reference"].hidden[5:] = torch.nan
    assert weighted_head_loss(**values).total.isfinite()


def test_a_frozen_head_gets_no_gradient():
    values = problem(7, 300, 10, 8)
    hidden = values["hidden"].requires_grad_()
    weighted_head_loss(**values).total.backward()
    assert hidden.grad.norm() > 0
    assert values["head"].weight.grad is None


def test_a_second_backward_is_refused_instead_of_wrong():
    values = problem(7, 300, 10, 8)
    values["hidden"].requires_grad_()
    loss = weighted_head_loss(**values)
    loss.total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="compute the loss again"):
        loss.total.backward()


def test_half_an_anchor_is_refused():
    values = problem(7, 300, 10, 8)
    del values["reference"]
    with pytest.raises(ConfigError, match="both or neither"):
        weighted_head_loss(**values)


@pytest.mark.parametrize("kernel", ["tokens", "trl"])
def test_everywhere_adds_the_statistics_of_all_tokens_and_changes_nothing_else(kernel):
    values = problem(9, 900, 50, 16, labels=2)
    values["labels"].weights[::2] = 0.0
    values["chunk_weights"][:8], values["anchor_weights"][:8] = 0.0, 0.0

    def kept(v, everywhere):
        losses.append(weighted_head_loss(**v, temperature=0.7, everywhere=everywhere, kernel=kernel))
        return losses[-1].total

    losses = []
    _, grads = gradients(values, lambda v: kept(v, False))
    _, same_grads = gradients(values, lambda v: kept(v, True))
    assert all(map(torch.equal, grads, same_grads))
    some, every = losses
    assert torch.equal(some.total, every.total)
    asked = ("hidden", "head", "targets", "reference")
    exact = token_statistics(**{name: values[name] for name in asked}, temperature=0.7)
    for name in ("logprobs", "entropies", "anchor_kl"):
        torch.testing.assert_close(getattr(every, name), getattr(exact, name), rtol=1e-5, atol=1e-6)
    assert some.anchor_kl[:8].isnan().all()
    weights = values["labels"].weights
    costs = torch.where(weights != 0, -weights * every.label_logprobs, 0)
    torch.testing.assert_close(costs.sum(), every.labels, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", ["tokens", "trl"])
def test_label_weights_may_depend_on_what_the_student_says_of_the_labels(kernel):
    values = problem(9, 900, 50, 16, labels=2)

    def reweigh(counts, logprobs):
        return counts * logprobs.exp()

    labels = values["labels"]
    asked = {**values, "labels": Labels(labels.ids, labels.weights, reweigh)}
    _, grads = gradients(asked, lambda v: weighted_head_loss(**v, kernel=kernel).total)
    said = weighted_head_loss(**values, everywhere=True).label_logprobs
    known = {**values, "labels": Labels(labels.ids, reweigh(labels.weights, said))}
    _, exact = gradients(known, lambda v: weighted_head_loss(**v).total)
    assert_gradients_close(grads, exact)
