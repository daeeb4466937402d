"""Gradients as vectors: angles that are known, and the judgement of targets whose answer is known."""

import math

import pytest
import torch

from benchmarks.targets import BatchGradients, flat_gradient, grad_cosine, judge
from omniopd.errors import DataError


def test_cosines_of_known_angles():
    e, f = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    assert grad_cosine(e, f) == pytest.approx(math.sqrt(0.5))
    assert grad_cosine(e, -3 * e) == pytest.approx(-1)
    assert grad_cosine(e, torch.tensor([0.0, 2.0])) == 0
    assert math.isnan(grad_cosine(e, torch.zeros(2)))


def test_cosine_equals_the_slow_sum():
    a, b = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    norms = math.sqrt(sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b))
    assert grad_cosine(a, b) == pytest.approx(dot / norms, rel=1e-6)


def test_a_flat_gradient_holds_every_trainable_parameter_and_zeros_where_the_loss_does_not_reach():
    model = torch.nn.ModuleDict({"used": torch.nn.Linear(3, 1, bias=False), "idle": torch.nn.Linear(2, 1, bias=False)})
    model["idle"].weight.requires_grad_(True)
    x = torch.tensor([[1.0, 2.0, 3.0]])
    assert flat_gradient(model["used"](x).sum(), model).tolist() == [1.0, 2.0, 3.0, 0.0, 0.0]


def batches(direction, noise, count, seed):
    generator = torch.Generator().manual_seed(seed)
    return [
        BatchGradients(*(direction + noise * torch.randn(2, len(direction), generator=generator))) for _ in range(count)
    ]


def test_averaging_batches_takes_the_noise_from_an_unbiased_gradient():
    truth = torch.randn(400, generator=torch.Generator().manual_seed(1))
    white = batches(truth, 0.1, 16, seed=2)
    report = judge(batches(truth, 3.0, 16, seed=3), white)
    assert report.halves.mean == pytest.approx(1 / (1 + 9), abs=0.05)
    assert report.direction.mean == pytest.approx(1 / math.sqrt(1 + 9 / 2), abs=0.07)
    assert report.mean_direction.mean > report.direction.mean + 0.2
    assert report.mean_direction.low < report.mean_direction.mean < 1


def test_pure_noise_points_nowhere_however_many_batches_are_averaged():
    truth = torch.randn(400, generator=torch.Generator().manual_seed(1))
    report = judge(batches(torch.zeros(400), 1.0, 16, seed=4), batches(truth, 0.1, 16, seed=2))
    assert report.halves.low < 0 < report.halves.high
    assert abs(report.mean_direction.mean) < 0.15


def test_a_target_without_gradient_is_told_apart_from_one_without_direction():
    truth = torch.ones(4)
    nothing = [BatchGradients(torch.zeros(4), torch.zeros(4))] * 2
    assert judge(nothing, batches(truth, 0.1, 2, seed=0)).direction is None


def test_batches_must_be_the_same():
    with pytest.raises(DataError, match="3 batches beside 2"):
        judge(batches(torch.ones(4), 1.0, 3, 0), batches(torch.ones(4), 1.0, 2, 0))
