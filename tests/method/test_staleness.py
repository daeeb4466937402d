"""Answers of an earlier student teach the later one what its own would: by enumeration."""

from itertools import product

import pytest
import torch

from omniopd.method.staleness import MOST_RATIO, truncated_ratio

VOCABULARY, CHUNK = 3, 2


def students() -> tuple[torch.Tensor, torch.Tensor]:
    """Two next-token distributions, by the first token (row 0: no token before), near each other."""
    torch.manual_seed(0)
    then = torch.randn(1 + VOCABULARY, VOCABULARY, dtype=torch.float64)
    now = then + 0.15 * torch.randn_like(then)
    return then, now.requires_grad_()


def logprobs(logits: torch.Tensor, chunk: tuple[int, ...]) -> torch.Tensor:
    rows = logits.log_softmax(-1)
    return torch.stack([rows[0, chunk[0]], rows[1 + chunk[0], chunk[1]]])


CHUNKS = list(product(range(VOCABULARY), repeat=CHUNK))
WEIGHTS = dict(zip(CHUNKS, torch.rand(len(CHUNKS), dtype=torch.float64).tolist(), strict=True))


def gradient_of(loss: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
    [found] = torch.autograd.grad(loss, now)
    return found


def test_a_weight_on_a_whole_chunk_has_the_later_students_gradient() -> None:
    then, now = students()
    wanted = gradient_of(sum(WEIGHTS[c] * logprobs(now, c).sum().exp() for c in CHUNKS), now)
    loss = torch.zeros((), dtype=torch.float64)
    for c in CHUNKS:
        mine, drawn = logprobs(now, c), logprobs(then, c)
        ratio = truncated_ratio(mine, drawn, together=True)
        assert float(ratio.max()) < MOST_RATIO  # nothing is cut here, or the next test's bias would show
        loss = loss + drawn.sum().exp() * (WEIGHTS[c] * ratio * mine).sum()
    assert torch.allclose(gradient_of(loss, now), wanted, atol=1e-12)


def test_a_ratio_by_token_would_be_another_gradient_and_so_would_none() -> None:
    """What makes the product necessary: the weight of the first token hangs on the second."""
    then, now = students()
    wanted = gradient_of(sum(WEIGHTS[c] * logprobs(now, c).sum().exp() for c in CHUNKS), now)
    for ratio_of in (lambda mine, drawn: truncated_ratio(mine, drawn, together=False), lambda mine, drawn: 1.0):
        loss = sum(
            logprobs(then, c).sum().exp()
            * (WEIGHTS[c] * ratio_of(logprobs(now, c), logprobs(then, c)) * logprobs(now, c)).sum()
            for c in CHUNKS
        )
        assert not torch.allclose(gradient_of(loss, now), wanted, atol=1e-3)


def test_weights_of_single_tokens_have_ratios_of_their_own() -> None:
    """As in a scan, where each token is a fork: the expectation over the token at a state, at that state."""
    then, now = students()
    weights = torch.rand(VOCABULARY, dtype=torch.float64)
    wanted = gradient_of((now[0].softmax(-1) * weights).sum(), now)
    mine, drawn = now[0].log_softmax(-1), then[0].log_softmax(-1)
    ratio = truncated_ratio(mine, drawn, together=False)
    assert float(ratio.max()) < MOST_RATIO
    assert torch.allclose(gradient_of((drawn.exp() * weights * ratio * mine).sum(), now), wanted, atol=1e-12)


def test_a_label_needs_no_ratio() -> None:
    """Cross-entropy at a state is the same loss whoever reached the state: its gradient does not hang on the draw."""
    then, now = students()
    teacher = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    at_a_state = gradient_of(-(teacher * now[0].log_softmax(-1)).sum(), now)
    over_draws = gradient_of(
        sum(p * -(teacher * now[0].log_softmax(-1)).sum() for p in then[0].softmax(-1)), now
    )
    assert torch.allclose(at_a_state, over_draws)


def test_a_ratio_is_cut_where_one_rare_token_would_outweigh_a_step_and_carries_no_gradient() -> None:
    now = torch.tensor([0.0, -1.0], requires_grad=True)
    ratio = truncated_ratio(now, torch.tensor([-9.0, -1.0]), together=False)
    assert ratio.tolist() == pytest.approx([MOST_RATIO, 1.0])
    assert truncated_ratio(now, torch.tensor([-9.0, -1.0]), together=True).tolist() == pytest.approx([MOST_RATIO] * 2)
    assert not ratio.requires_grad
