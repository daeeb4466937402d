"""Facts about the objective."""

from __future__ import annotations

import math

import torch

from omniopd.method.loss import Loss, loss_coefficients, omniopd_loss


def values(seed: int = 0, batch: int = 3, time: int = 7) -> dict[str, torch.Tensor]:
    """A batch in which tokens are audited, anchored, or padding."""
    draw = torch.Generator().manual_seed(seed)
    kind = torch.randint(3, (batch, time), generator=draw)
    return {
        "logprobs": (-3 * torch.rand(batch, time, generator=draw)).requires_grad_(),
        "anchor_kl": torch.rand(batch, time, generator=draw).requires_grad_(),
        "weights": torch.randn(batch, time, generator=draw) * (kind == 0),
        "anchored": kind == 1,
    }


def test_the_objective_token_by_token():
    v = values()
    found = omniopd_loss(**v, anchor_weight=0.3, normaliser=12.0)
    v = {name: x.detach().tolist() for name, x in v.items()}
    chunk = anchor = 0.0
    for row in range(3):
        for t in range(7):
            chunk -= v["weights"][row][t] * v["logprobs"][row][t]
            if v["anchored"][row][t]:
                anchor += 0.3 * v["anchor_kl"][row][t]
    found = Loss(*(x.detach() for x in (found.total, found.chunk, found.anchor)))
    assert math.isclose(float(found.chunk), chunk / 12, rel_tol=1e-5)
    assert math.isclose(float(found.anchor), anchor / 12, rel_tol=1e-5)
    assert math.isclose(float(found.total), (chunk + anchor) / 12, rel_tol=1e-5)


def test_audited_tokens_feel_only_the_chunk_term_and_unaudited_ones_only_the_anchor():
    v = values()
    omniopd_loss(**v, anchor_weight=0.3, normaliser=12.0).total.backward()
    torch.testing.assert_close(v["logprobs"].grad, -v["weights"] / 12)
    torch.testing.assert_close(v["anchor_kl"].grad, v["anchored"] * 0.3 / 12)
    assert not bool(((v["logprobs"].grad != 0) & (v["anchor_kl"].grad != 0)).any())


def test_a_gradient_cannot_flow_into_the_targets():
    v = values()
    v["weights"].requires_grad_()
    omniopd_loss(**v).total.backward()
    assert v["weights"].grad is None


def test_micro_batches_sum_to_the_batch():
    v = values()
    whole = omniopd_loss(**v, normaliser=21.0)
    parts = [omniopd_loss(**{k: x[i : i + 1] for k, x in v.items()}, normaliser=21.0) for i in range(3)]
    for name in ("total", "chunk", "anchor"):
        torch.testing.assert_close(sum(getattr(p, name) for p in parts), getattr(whole, name))


def test_without_an_anchor_weight_there_is_no_anchor_and_without_chunks_nothing_else():
    v = values()
    v = {name: x.detach() for name, x in v.items()}
    assert float(omniopd_loss(**v, anchor_weight=0.0).anchor) == 0
    silent = omniopd_loss(**{**v, "weights": torch.zeros(3, 7)})
    assert float(silent.chunk) == 0
    torch.testing.assert_close(silent.total, silent.anchor)


def test_one_constant_divides_both_terms_however_long_the_rollouts_are():
    v = values()
    once, twice = omniopd_loss(**v, normaliser=5.0), omniopd_loss(**v, normaliser=10.0)
    torch.testing.assert_close(once.chunk, 2 * twice.chunk)
    torch.testing.assert_close(once.anchor, 2 * twice.anchor)
    padded = {k: torch.nn.functional.pad(x, (0, 4)) for k, x in v.items()}
    torch.testing.assert_close(omniopd_loss(**padded, normaliser=5.0).total, once.total)


def test_the_loss_is_linear_in_the_weights():
    v = values()
    single, double = omniopd_loss(**v), omniopd_loss(**{**v, "weights": 2 * v["weights"]})
    torch.testing.assert_close(double.chunk, 2 * single.chunk)
    torch.testing.assert_close(double.anchor, single.anchor)


def test_the_coefficients_are_what_each_term_is_multiplied_by():
    v = values()
    c = loss_coefficients(v["weights"], v["anchored"], 0.3, 12.0)
    torch.testing.assert_close(c.chunk, v["weights"] / 12)
    torch.testing.assert_close(c.anchor, v["anchored"] * 0.025)
