"""Facts about where a rollout is audited."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniopd.errors import ConfigError
from omniopd.method.forks import chunk_starts, standing_out
from omniopd.method.tensors import peak_forks, schedule
from omniopd.types import Fork

quick = settings(deadline=None, max_examples=80, derandomize=True)
# Few different values, so that ties are common.
entropies_with_ties = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]), max_size=24)
any_entropies = st.lists(st.floats(0, 12, width=32), max_size=30)
numbers_of_forks, chunk_lengths = st.integers(0, 6), st.integers(1, 6)


def starts(forks: list[Fork]) -> list[int]:
    return [fork.start for fork in forks]


def slow_peaks(entropies: list[float], forks: int, chunk_tokens: int, allowed: list[bool]) -> list[int]:
    """Again and again the best position that is still free."""
    chosen: list[int] = []
    while len(chosen) < forks:
        best = None
        for t in range(len(entropies) - chunk_tokens + 1):
            taken = any(t < u + chunk_tokens and u < t + chunk_tokens for u in chosen)
            if allowed[t] and not taken and (best is None or entropies[t] >= entropies[best]):
                best = t
        if best is None:
            break
        chosen.append(best)
    return sorted(chosen)


@quick
@given(entropies_with_ties, numbers_of_forks, chunk_lengths, st.randoms(use_true_random=False))
def test_peaks_are_taken_greedily_and_of_equal_ones_the_later(entropies, forks, chunk_tokens, random):
    allowed = [random.random() < 0.8 for _ in entropies]
    found = peak_forks(torch.tensor(entropies), forks, chunk_tokens, torch.tensor(allowed, dtype=torch.bool))
    assert starts(found) == slow_peaks(entropies, forks, chunk_tokens, allowed)
    everywhere = peak_forks(torch.tensor(entropies), forks, chunk_tokens)
    assert starts(everywhere) == slow_peaks(entropies, forks, chunk_tokens, [True] * len(entropies))


@quick
@given(any_entropies, numbers_of_forks, chunk_lengths, st.sampled_from(["peak", "random", "early", "causal"]))
def test_chunks_start_at_their_fork_fit_never_overlap_and_are_at_most_M(entropies, forks, chunk_tokens, name):
    values = torch.tensor(entropies)
    found = schedule(name, values, forks, chunk_tokens, torch.Generator().manual_seed(3))
    assert len(found) <= forks
    assert all(fork.stop - fork.start == chunk_tokens for fork in found)
    assert all(fork.start >= 0 and fork.stop <= len(entropies) for fork in found)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(found))
    assert all(fork.entropy == float(values[fork.start]) for fork in found)


@quick
@given(any_entropies, chunk_lengths, st.sampled_from(["peak", "random"]))
def test_fewer_than_M_only_where_no_further_chunk_fits(entropies, chunk_tokens, name):
    found = schedule(name, torch.tensor(entropies), 1000, chunk_tokens, torch.Generator().manual_seed(3))
    covered = [any(f.start <= t < f.stop for f in found) for t in range(len(entropies))]
    free = [t for t in range(len(entropies) - chunk_tokens + 1) if not any(covered[t : t + chunk_tokens])]
    assert free == []


def test_the_fork_token_itself_belongs_to_the_chunk_and_chunks_need_not_be_peaks_of_their_mean():
    assert peak_forks(torch.tensor([0.0, 0.0, 5.0, 0.0, 4.0, 4.0]), 1, 2) == [Fork(2, 4, 5.0)]


def test_an_anchor_too_near_the_end_gives_way_to_the_next():
    assert starts(peak_forks(torch.tensor([1.0, 2.0, 0.0, 0.0, 9.0]), 1, 2)) == [1]


def test_a_rollout_shorter_than_a_chunk_has_no_fork():
    for name in ("peak", "random", "early", "causal"):
        assert schedule(name, torch.ones(3), 10, 4, torch.Generator().manual_seed(0)) == []
        assert schedule(name, torch.ones(0), 10, 1, torch.Generator().manual_seed(0)) == []


def test_the_defaults_are_the_papers():
    found = peak_forks(torch.rand(4000, generator=torch.Generator().manual_seed(0)))
    assert len(found) == 10
    assert {fork.stop - fork.start for fork in found} == {50}


def test_peaks_ignore_what_is_added_to_every_entropy():
    values = torch.randint(0, 50, (200,), generator=torch.Generator().manual_seed(1)).float()
    assert starts(peak_forks(values, 6, 8)) == starts(peak_forks(values + 7, 6, 8))


# ── controls ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_early_forks_follow_each_other_from_the_first_token():
    assert starts(schedule("early", torch.rand(20), 3, 4)) == [0, 4, 8]
    assert starts(schedule("early", torch.rand(20), 100, 6)) == [0, 6, 12]


def test_random_forks_are_the_generators_alone():
    def draw(seed: int, entropies: torch.Tensor) -> list[int]:
        return starts(schedule("random", entropies, 4, 3, torch.Generator().manual_seed(seed)))

    assert draw(5, torch.rand(60)) == draw(5, torch.zeros(60))
    assert len({tuple(draw(seed, torch.zeros(60))) for seed in range(20)}) == 20


def test_random_forks_reach_every_position_that_fits():
    generator = torch.Generator().manual_seed(0)
    seen = {t for _ in range(300) for t in starts(schedule("random", torch.zeros(8), 1, 3, generator))}
    assert seen == {0, 1, 2, 3, 4, 5}


# ── deciding while the student writes ────────────────────────────────────────────────────────────────────────────────


def slow_causal(entropies: list[float], forks: int, chunk_tokens: int, deviations: float) -> list[int]:
    chosen: list[int] = []
    for t in range(2, len(entropies)):
        past = entropies[:t]
        mean = sum(past) / t
        spread = math.sqrt(sum((x - mean) ** 2 for x in past) / t)
        free = not chosen or t >= chosen[-1] + chunk_tokens
        stands_out = entropies[t] > mean + deviations * spread
        if len(chosen) < forks and free and stands_out and t + chunk_tokens <= len(entropies):
            chosen.append(t)
    return chosen


@pytest.mark.parametrize("seed", range(8))
def test_causal_forks_stand_out_from_the_tokens_before_them(seed):
    values = torch.rand(120, generator=torch.Generator().manual_seed(seed)) ** 3
    deviations = [0.0, 0.5, 1.0, 2.0][seed % 4]
    order = standing_out(values.tolist(), list, deviations)
    found = chunk_starts(order, len(values), 5, 4)
    assert found == slow_causal(values.tolist(), 5, 4, deviations)
    assert found


@quick
@given(any_entropies, st.integers(1, 6), chunk_lengths, st.integers(0, 30))
def test_causal_forks_do_not_know_the_future(entropies, forks, chunk_tokens, cut):
    """The forks of a beginning are the whole rollout's, apart from chunks that no longer fit."""
    values = torch.tensor(entropies)
    whole = schedule("causal", values, forks, chunk_tokens)
    beginning = schedule("causal", values[:cut], forks, chunk_tokens)
    assert beginning == [f for f in whole if f.stop <= min(cut, len(values))]


def test_peak_forks_do_know_the_future():
    rising = torch.arange(10.0)
    assert starts(peak_forks(rising, 1, 1)) == [9]
    assert starts(peak_forks(rising[:6], 1, 1)) == [5]


@pytest.mark.parametrize("level", [0.0, 0.1, 1 / 3, 2.7])
def test_nothing_stands_out_of_a_plateau(level):
    assert list(standing_out(torch.full((500,), level).tolist(), list, deviations=0.0)) == []


def test_an_unknown_scheduler_is_named_beside_the_known_ones():
    with pytest.raises(ConfigError, match=r"'peek'.*peak, random, early, causal"):
        schedule("peek", torch.ones(9), 1, 1)
