"""Facts about a scan, as places and tokens: every place once, runs end at their first difference, targets come back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.method.evidence import ForkTarget
from omniopd.method.scan import (
    Run,
    agreed_run,
    expected_run,
    expected_texts,
    joined,
    segments,
    stretches,
    tokens_of_run,
    whole_run,
)
from omniopd.method.targets import targets_of_forks

answers = st.lists(st.integers(0, 2), min_size=1, max_size=30)


def conversation(answer, drawn, **how):
    """All runs of one draw, where the teacher writes `drawn[u]` behind the answer's first u tokens."""
    found = []
    for stretch in stretches(len(answer), **{"longest": 8, **how}):
        while (asked := stretch.next()) is not None:
            place, stop = asked
            run = agreed_run(place, drawn[place:stop], answer[:stop])
            stretch.take(place, len(run.tokens))
            found.append(run)
    return found


@given(answers, st.data(), st.integers(1, 10), st.integers(1, 5))
def test_every_place_of_an_answer_gets_the_teachers_token_there_once(answer, data, longest, at_once):
    drawn = data.draw(st.lists(st.integers(0, 2), min_size=len(answer), max_size=len(answer)))
    order = data.draw(st.permutations(range(len(answer))))
    runs = conversation(answer, drawn, longest=longest, at_once=at_once, order=order)
    labels = [(run.start + i, token) for run in runs for i, token in enumerate(run.tokens)]
    assert sorted(labels) == list(enumerate(drawn))
    for run in runs:
        own = answer[run.start : run.stop]
        assert list(run.tokens[:-1]) == own[:-1]
        assert len(run.tokens) <= longest


@given(answers, st.data())
def test_one_after_the_other_takes_a_text_and_one_more_for_each_difference_but_a_last(answer, data):
    drawn = data.draw(st.lists(st.integers(0, 2), min_size=len(answer), max_size=len(answer)))
    runs = conversation(answer, drawn, longest=len(answer))
    differences = sum(a != b for a, b in zip(answer, drawn, strict=True))
    assert len(runs) == 1 + differences - (answer[-1] != drawn[-1])


@given(answers, st.data(), st.integers(1, 5), st.integers(1, 6))
def test_a_limited_scan_asks_for_no_more_texts_and_begins_where_it_is_wanted_most(answer, data, texts, at_once):
    drawn = data.draw(st.lists(st.integers(0, 2), min_size=len(answer), max_size=len(answer)))
    order = data.draw(st.permutations(range(len(answer))))
    runs = conversation(answer, drawn, longest=4, texts=texts, order=order, at_once=at_once)
    assert len(runs) <= texts
    places = [run.start + i for run in runs for i in range(len(run.tokens))]
    assert len(set(places)) == len(places)
    if at_once == 1:
        assert runs[0].start == order[0]
        for earlier, later in pairwise(runs):
            between = order[order.index(earlier.start) + 1 : order.index(later.start)]
            done = {p for r in runs[: runs.index(later)] for p in range(r.start, r.stop)}
            assert set(between) <= done


def test_no_text_begins_inside_a_character_and_what_it_leaves_out_has_no_label():
    answer, drawn = [1, 1, 1, 1], [1, 0, 1, 1]
    runs = conversation(answer, drawn, allowed=[True, True, False, True])
    assert [(run.start, run.tokens) for run in runs] == [(0, (1, 0)), (3, (1,))]


def test_a_place_whose_text_says_nothing_is_given_up_and_a_failure_ends_the_stretch():
    [stretch] = stretches(5, longest=5)
    assert stretch.next() == (0, 5)
    stretch.take(0, 0)
    assert stretch.next() == (1, 5)
    stretch.end()
    assert stretch.next() is None
    [empty] = stretches(0, longest=5)
    assert empty.next() is None


def test_segments_are_cut_where_any_draw_begins_or_ends_and_hold_what_each_says_there():
    runs = [Run(0, (1, 1, 0)), Run(3, (1, 1)), Run(0, (1, 1, 1, 2)), Run(4, (1,)), Run(7, (3,))]
    assert segments(runs) == [
        (0, 3, ((1, 1, 0), (1, 1, 1))),
        (3, 4, ((1,), (2,))),
        (4, 5, ((1,), (1,))),
        (7, 8, ((3,),)),
    ]


def test_tokens_of_a_run_are_forks_of_one_token_with_the_share_that_agrees_there():
    found = tokens_of_run(2, (5, 6), ((5, 6), (5, 7), None), (0.25, 0.5))
    assert [(f.chunk_ids, f.soft_count, f.samples, f.prior, f.rollout) for f in found] == [
        ((5,), 2.0, 2, 0.25, 2),
        ((6,), 1.0, 2, 0.5, 2),
    ]
    assert found[1].continuation_ids == ((6,), (7,))


@pytest.mark.parametrize("target", ["paper", "centred", "labels", "posterior_kl", "prefix_credit"])
@pytest.mark.parametrize("control", ["none", "constant", "shuffled"])
def test_targets_of_a_run_are_those_of_its_tokens_side_by_side(target, control):
    evidence = [
        *tokens_of_run(0, (5, 6, 7), ((5, 6, 7), (5, 6, 9)), (0.2, 0.3, 0.9)),
        *tokens_of_run(1, (4,), ((3,), (4,)), (0.5,)),
    ]
    single = targets_of_forks(evidence, target, control, permutation=lambda n: [*range(1, n), 0])
    whole = joined(single, [3, 1])
    assert [len(t.weights) for t in whole] == [3, 1]
    assert np.concatenate([t.weights for t in whole]).tolist() == [w for t in single for w in t.weights]
    if single[0].labels:
        assert [dict(slots) for t in whole for slots in t.labels] == [dict(t.labels[0]) for t in single]
    else:
        assert all(t.labels == () for t in whole)


def test_targets_of_chunks_pass_unchanged():
    made = [ForkTarget(np.array([0.5]), ({1: 1.0},)), ForkTarget(np.array([1.0]))]
    assert joined(made, [1, 1]) == made


@pytest.mark.parametrize("acceptance", [0.0, 0.6, 0.95, 1.0])
def test_expected_texts_and_runs_are_those_of_independent_agreements(acceptance):
    rng, length, longest, trials = np.random.default_rng(0), 40, 12, 500
    texts, labelled = 0, 0
    for _ in range(trials):
        answer = [1] * length
        drawn = [int(u < acceptance) for u in rng.random(length)]
        runs = conversation(answer, drawn, longest=length)
        texts += len(runs)
        labelled += len(agreed_run(0, drawn[:longest], answer[:longest]).tokens)
    # A difference at the very end asks for nothing more.
    assert texts / trials == pytest.approx(expected_texts(length, acceptance) - (1 - acceptance), rel=0.05)
    assert labelled / trials == pytest.approx(expected_run(longest, acceptance), rel=0.05)


@given(length=st.integers(1, 40), longest=st.integers(1, 60))
def test_a_text_that_nobody_stops_writes_to_its_end(length, longest):
    written = [len(range(length)[place:][:longest]) for place in range(length)]
    assert whole_run(longest, length) == pytest.approx(sum(written) / length)
