"""Facts about next-token entropy."""

from __future__ import annotations

import math

import torch

from omniopd.method.entropy import token_entropy


def slow_entropy(logits: list[float]) -> float:
    top = max(logits)
    total = sum(math.exp(x - top) for x in logits)
    probabilities = [math.exp(x - top) / total for x in logits]
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def test_entropy_is_the_sum_over_the_whole_vocabulary():
    logits = torch.randn(3, 4, 50, generator=torch.Generator().manual_seed(0)) * 4
    slow = [[slow_entropy(row.tolist()) for row in batch] for batch in logits.double()]
    torch.testing.assert_close(token_entropy(logits), torch.tensor(slow), rtol=1e-5, atol=1e-6)


def test_a_uniform_distribution_has_the_logarithm_of_the_vocabulary_and_a_certain_one_has_none():
    assert math.isclose(float(token_entropy(torch.zeros(7))), math.log(7), rel_tol=1e-6)
    assert float(token_entropy(torch.tensor([200.0, 0.0, 0.0]))) == 0


def test_a_forbidden_token_contributes_nothing():
    forbidden = torch.tensor([0.3, -torch.inf, 1.2, -torch.inf])
    torch.testing.assert_close(token_entropy(forbidden), token_entropy(torch.tensor([0.3, 1.2])))


def test_a_truncated_vocabulary_underestimates_and_picks_another_fork():
    flat_tail = torch.zeros(100)
    flat_tail[0] = 3.0  # one likely token, and a long flat tail
    two_way = torch.full((100,), -20.0)
    two_way[:4] = 0.0  # four equal tokens and nothing else
    logits = torch.stack([flat_tail, two_way])
    assert int(token_entropy(logits).argmax()) == 0
    assert int(token_entropy(logits.topk(4).values).argmax()) == 1


def test_16_bit_logits_are_summed_in_32_bits():
    logits = torch.randn(2, 5000, generator=torch.Generator().manual_seed(1)).bfloat16()
    entropy = token_entropy(logits)
    assert entropy.dtype == torch.float32
    torch.testing.assert_close(entropy, token_entropy(logits.float()))
