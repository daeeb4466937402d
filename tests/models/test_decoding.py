"""A draw depends on its own seed and its distribution, and on nothing else."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from omniopd.models.decoding import Sampling, choose, continue_ids, row_seed, uniforms
from tests.builders import tiny_model, tiny_tokenizer

EOS = (tiny_tokenizer().eos_token_id,)
PREFIXES = [[5, 6, 7], [9], [5, 6, 7], [40, 41, 42, 43, 44, 45], [9, 9, 12, 80]]
SEEDS = [11, 12, 13, 14, 15]


def slowly(model: torch.nn.Module, prefix: list[int], seed: int, max_tokens: int, sampling: Sampling) -> list[int]:
    """One row, the whole sequence read again for each token, no cache and no padding."""
    ids: list[int] = []
    while len(ids) < max_tokens and not (ids and ids[-1] in EOS):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prefix, *ids]])).logits[0, -1].float()
        if sampling.temperature == 0:
            ids.append(int(logits.argmax()))
            continue
        p = torch.softmax(logits / sampling.temperature, -1).double()
        ranked = p.argsort(descending=True)
        keep = ranked[: sampling.top_k or len(p)].tolist()
        if sampling.top_k:
            p = p / p[keep].sum()
        nucleus, total = [], 0.0
        for token in keep:
            if total >= sampling.top_p and nucleus:
                break
            nucleus.append(token)
            total += float(p[token])
        number = float(uniforms([seed], len(ids))[0]) * sum(float(p[token]) for token in nucleus)
        reached = 0.0
        for token in sorted(nucleus):
            reached += float(p[token])
            if reached > number:
                break
        ids.append(token)
    return ids


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(0.0), Sampling(0.5), Sampling(top_p=0.7), Sampling(top_k=5), Sampling(0.8, 0.9, 20)],
    ids=str,
)
def test_rows_of_a_batch_equal_each_row_decoded_slowly_alone(sampling: Sampling) -> None:
    model = tiny_model()
    found = continue_ids(model, PREFIXES, SEEDS, 12, eos_ids=EOS, **asdict(sampling))
    assert found == [slowly(model, p, s, 12, sampling) for p, s in zip(PREFIXES, SEEDS, strict=True)]


def test_batching_and_the_global_generator_change_nothing() -> None:
    model = tiny_model()
    together = continue_ids(model, PREFIXES, SEEDS, 9, eos_ids=EOS)
    torch.manual_seed(999)
    assert continue_ids(model, PREFIXES, SEEDS, 9, eos_ids=EOS, batch_tokens=1) == together
    backwards = continue_ids(model, PREFIXES[::-1], SEEDS[::-1], 9, eos_ids=EOS)
    assert backwards[::-1] == together


def test_rows_have_their_own_limits_and_stop_at_an_end_token() -> None:
    model = tiny_model()
    limits = [1, 0, 7, 3, 5]
    full = continue_ids(model, PREFIXES, SEEDS, 9, eos_ids=EOS)
    cut = continue_ids(model, PREFIXES, SEEDS, limits, eos_ids=EOS)
    assert cut == [f[:n] for f, n in zip(full, limits, strict=True)]
    stop = full[0][3]
    [stopped] = continue_ids(model, PREFIXES[:1], SEEDS[:1], 9, eos_ids=[stop])
    assert stopped == full[0][: full[0].index(stop) + 1]


def test_a_row_that_ends_leaves_the_others_as_they_are() -> None:
    model = tiny_model()
    full = continue_ids(model, PREFIXES, SEEDS, 9, eos_ids=EOS)
    for row in range(5):
        limits = [3 if other == row else 9 for other in range(5)]
        cut = continue_ids(model, PREFIXES, SEEDS, limits, eos_ids=EOS)
        assert cut == [f[:n] for f, n in zip(full, limits, strict=True)]


def test_the_model_keeps_its_mode() -> None:
    model = tiny_model().train()
    continue_ids(model, [[5]], [1], 2, eos_ids=EOS)
    assert model.training


def test_frequencies_are_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0, -1.0]])
    draws = 40_000
    numbers = torch.from_numpy(uniforms(np.arange(draws, dtype=np.uint64), 0)).unsqueeze(0)
    counts = torch.bincount(choose(logits, numbers, Sampling())[0], minlength=5) / draws
    p = logits.softmax(-1)[0]
    assert counts[2] == 0
    assert torch.all((counts - p).abs() <= 4 * (p * (1 - p) / draws).sqrt())


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    numbers = torch.tensor([[0.0, 0.25, 0.5, 1 - 2.0**-53]], dtype=torch.float64)
    assert choose(logits, numbers, Sampling()).tolist() == [[1, 1, 3, 3]]


def test_numbers_of_neighbouring_seeds_and_positions_are_uniform_and_unrelated() -> None:
    seeds = np.arange(20_000, dtype=np.uint64)
    first, second = uniforms(seeds, 0), uniforms(seeds, 1)
    assert first.min() >= 0
    assert first.max() < 1
    assert np.abs(np.histogram(first, 20, (0, 1))[0] - 1000).max() < 5 * 31
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.03


def test_a_row_seed_is_a_stable_hash_of_all_its_parts() -> None:
    assert row_seed(0, "p1", 2) == 3410367079245529418
    assert len({row_seed(1, 23), row_seed(12, 3), row_seed("1", 23), row_seed("12", 3), row_seed(123)}) == 5
