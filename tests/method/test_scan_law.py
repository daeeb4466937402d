"""What a scan says on average, by exact enumeration over every text that a teacher of a tiny language can write.

The teacher here is a table: its distribution after every prefix. It writes whole texts behind a place of the answer,
each with its probability, and knows nothing of the answer; the scan cuts and begins again as in training.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from omniopd.method.evidence import ForkTarget, next_token_counts
from omniopd.method.posterior import posterior_label_weights
from omniopd.method.scan import Run, Stretch, agreed_run, joined, segments, stretches, tokens_of_run
from omniopd.method.tensors import fork_targets

VOCAB, TIME = 2, 4
Tokens = tuple[int, ...]
Labels = dict[int, int]  # place → the teacher's token there
TEXTS = list(itertools.product(range(VOCAB), repeat=TIME))
PREFIXES = {p: i for i, p in enumerate(p for n in range(TIME) for p in itertools.product(range(VOCAB), repeat=n))}

# (longest text, texts an answer or 0, stretches at once, places the most wanted first, places where none may begin)
WHOLE = [(TIME, 0, 1, None, ()), (1, 0, 1, None, ()), (2, 0, 1, None, ()), (TIME, 0, 2, None, ()), (2, 0, 3, None, ())]
SOME = [(TIME, 1, 1, (2, 0, 1, 3), ()), (2, 2, 1, (1, 3, 0, 2), ()), (TIME, 2, 2, (3, 1, 0, 2), ()),
        (TIME, 0, 1, None, (2,)), (TIME, 0, 2, (2, 1, 3, 0), (1,))]  # fmt: skip


def table(seed: int) -> Tensor:
    """Log-probabilities after every prefix."""
    draw = torch.Generator().manual_seed(seed)
    return (1.2 * torch.randn(len(PREFIXES), VOCAB, generator=draw, dtype=torch.float64)).log_softmax(-1)


STUDENT, TEACHER = table(1), table(2)


def after(table_: Tensor, prefix: Tokens) -> list[float]:
    return table_[PREFIXES[prefix]].exp().tolist()


def likelihood(text: Tokens, table_: Tensor) -> float:
    return math.prod(after(table_, text[:t])[token] for t, token in enumerate(text))


def written(prefix: Tokens, tokens: int) -> Iterator[tuple[Tokens, float]]:
    """Every text of so many tokens behind a prefix, and the teacher's probability of it."""
    for text in itertools.product(range(VOCAB), repeat=tokens):
        yield text, math.prod(after(TEACHER, prefix + text[:j])[token] for j, token in enumerate(text))


def outcomes(answer: Tokens, setting: tuple[Any, ...]) -> list[tuple[float, list[Run]]]:
    """Everything that a scan of an answer can end with: its probability, and what the texts said."""
    longest, texts, at_once, order, closed = setting
    allowed = [t not in closed for t in range(TIME)]
    ended: list[tuple[float, list[Run]]] = []
    waiting: list[tuple[float, list[Run], list[Stretch]]] = [
        (1.0, [], stretches(TIME, longest, order, texts, at_once, allowed))
    ]
    while waiting:
        chance, runs, left = waiting.pop()
        asked = left[0].next() if left else None
        if not left:
            ended.append((chance, runs))
        elif asked is None:
            waiting.append((chance, runs, left[1:]))
        else:
            place, stop = asked
            said: dict[Run, float] = defaultdict(float)
            for text, probability in written(answer[:place], stop - place):
                said[agreed_run(place, text, answer[:stop])] += probability
            for run, probability in said.items():
                going = copy.deepcopy(left)
                going[0].take(place, len(run.tokens))
                waiting.append((chance * probability, [*runs, run], going))
    return ended


def labels_of(runs: Sequence[Run]) -> Labels:
    found: Labels = {}
    for run in runs:
        for place, token in enumerate(run.tokens, run.start):
            assert place not in found, f"place {place} has two labels of one draw"
            found[place] = token
    return found


@pytest.mark.parametrize("setting", WHOLE)
@pytest.mark.parametrize("answer", [(0, 1, 1, 0), (1, 1, 1, 1), (0, 0, 1, 0)])
def test_the_labels_of_a_scan_are_independent_draws_of_the_teacher_behind_the_students_own_prefixes(answer, setting):
    law: dict[Tokens, float] = defaultdict(float)
    for chance, runs in outcomes(answer, setting):
        labels = labels_of(runs)
        law[tuple(labels[place] for place in range(TIME))] += chance
    for said in TEXTS:
        product = math.prod(after(TEACHER, answer[:u])[token] for u, token in enumerate(said))
        assert law[said] == pytest.approx(product, abs=1e-12)


@pytest.mark.parametrize("setting", SOME)
def test_where_a_few_texts_reach_the_label_is_the_teachers_draw_there(setting):
    """Which places are reached depends on labels before them, never on their own."""
    answer, parted = (0, 1, 1, 0), 0
    reached, drawn = [0.0] * TIME, [[0.0] * VOCAB for _ in range(TIME)]
    for chance, runs in outcomes(answer, setting):
        for place, token in labels_of(runs).items():
            reached[place] += chance
            drawn[place][token] += chance
    for place in range(TIME):
        parted += 0 < reached[place] < 1 - 1e-9
        expected = [reached[place] * p for p in after(TEACHER, answer[:place])]
        assert drawn[place] == pytest.approx(expected, abs=1e-12)
    assert parted > 0  # else nothing was left out by chance


# ── gradients ────────────────────────────────────────────────────────────────────────────────────────────────────────


def targets_of(
    answer: Tokens, scans: Sequence[Sequence[Run]], target: str, concentration: float = 1.0
) -> Iterator[tuple[int, ForkTarget]]:
    """From the runs of all draws to one target a segment, as an audit makes them: (start, target)."""
    parts = segments([run for runs in scans for run in runs])
    student = [after(STUDENT, answer[:t])[answer[t]] for t in range(TIME)]
    evidence = [
        fork for start, stop, said in parts for fork in tokens_of_run(0, answer[start:stop], said, student[start:stop])
    ]
    made = fork_targets(evidence, target, concentration=concentration)
    return zip([start for start, _, _ in parts], joined(made, [stop - start for start, stop, _ in parts]), strict=True)


def pull(logits: Tensor, answer: Tokens, scans: Sequence[Sequence[Run]], target: str, concentration=1.0) -> Tensor:
    """The loss whose gradient a target asks for on one answer."""
    total = logits.sum() * 0
    for start, made in targets_of(answer, scans, target, concentration):
        for place, slots in enumerate(made.labels, start):
            log_p = logits.log_softmax(-1)[PREFIXES[answer[:place]]]
            weights = torch.tensor(list(slots.values()), dtype=torch.float64)
            chosen = log_p[list(slots)]
            if target == "posterior_kl":
                weights = posterior_label_weights(weights, chosen, concentration)
            total = total - (weights * chosen).sum()
    return total


def divergence(logits: Tensor, answer: Tokens, reverse: bool) -> Tensor:
    """White-box: Σ over the answer's places of KL(π_T ‖ π_θ), or the reverse."""
    rows = [PREFIXES[answer[:t]] for t in range(TIME)]
    ours, theirs = logits.log_softmax(-1)[rows], TEACHER[rows]
    return (ours.exp() * (ours - theirs)).sum() if reverse else (theirs.exp() * (theirs - ours)).sum()


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("setting", [WHOLE[0], WHOLE[2], WHOLE[3]])
def test_labels_of_a_scan_are_the_forward_kl_at_the_students_states(setting):
    logits = STUDENT.clone().requires_grad_()
    asked, white_box = logits.sum() * 0, logits.sum() * 0
    for answer in TEXTS:
        often = likelihood(answer, STUDENT)
        white_box = white_box + often * divergence(logits, answer, reverse=False)
        for chance, runs in outcomes(answer, setting):
            asked = asked + often * chance * pull(logits, answer, [runs], "labels")
    expected = gradient(white_box, logits)
    assert float(expected.norm()) > 0.1
    torch.testing.assert_close(gradient(asked, logits), expected)


def test_two_draws_a_place_stay_unbiased_and_no_label_is_lost_or_counted_twice():
    answer = (0, 1, 1, 0)
    logits = STUDENT.clone().requires_grad_()
    asked = logits.sum() * 0
    ways = outcomes(answer, WHOLE[2])
    for (p, first), (q, second) in itertools.product(ways, ways):
        asked = asked + p * q * pull(logits, answer, [first, second], "labels")
        counted: dict[int, dict[int, float]] = {}
        for start, made in targets_of(answer, [first, second], "posterior_kl"):
            counted |= dict(enumerate(made.labels, start))
        one, two = labels_of(first), labels_of(second)
        assert set(counted) == set(range(TIME))
        for place, counts in counted.items():
            assert counts == {token: float([one[place], two[place]].count(token)) for token in {one[place], two[place]}}
    torch.testing.assert_close(gradient(asked, logits), gradient(divergence(logits, answer, reverse=False), logits))


def test_a_few_texts_pull_as_the_forward_kl_does_times_the_chance_to_be_reached():
    answer, setting = (0, 1, 1, 0), SOME[0]
    logits = STUDENT.clone().requires_grad_()
    asked, reached = logits.sum() * 0, [0.0] * TIME
    for chance, runs in outcomes(answer, setting):
        asked = asked + chance * pull(logits, answer, [runs], "labels")
        for place in labels_of(runs):
            reached[place] += chance
    rows = [PREFIXES[answer[:t]] for t in range(TIME)]
    each = (TEACHER[rows].exp() * (TEACHER[rows] - logits.log_softmax(-1)[rows])).sum(-1)
    torch.testing.assert_close(
        gradient(asked, logits), gradient((torch.tensor(reached, dtype=torch.float64) * each).sum(), logits)
    )


@pytest.mark.parametrize("concentration", [0.3, 1.0])
def test_with_ever_more_draws_posterior_kl_becomes_the_white_box_reverse_kl(concentration):
    """Exact means over the counts of n draws: binomial, since the places of a scan are independent draws."""
    answer = (0, 1, 1, 0)
    logits = STUDENT.clone().requires_grad_()
    rows = [PREFIXES[answer[:t]] for t in range(TIME)]
    wanted = gradient(divergence(logits, answer, reverse=True), logits)
    distances = []
    for n in (1, 16, 128, 1024):
        ones = torch.arange(n + 1, dtype=torch.float64)
        chances = torch.distributions.Binomial(n, TEACHER[rows].exp()[:, 1:]).log_prob(ones).exp()  # [place, count]
        counts = torch.stack([n - ones, ones], -1).expand(TIME, n + 1, VOCAB)
        log_p = logits.log_softmax(-1)[rows][:, None].expand(TIME, n + 1, VOCAB)
        weights = posterior_label_weights(counts, log_p, concentration)
        loss = -(chances[..., None] * weights * log_p).sum()
        distances.append(float((gradient(loss, logits) - wanted).norm() / wanted.norm()))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.005 < distances[1]


def test_counts_of_one_scan_are_what_posterior_kl_learns_from():
    answer, runs = (0, 1, 1, 0), [Run(0, (0, 0)), Run(2, (1, 0))]
    [(start, first), (after_it, second)] = targets_of(answer, [runs], "posterior_kl")
    assert (start, first.labels) == (0, ({0: 1.0}, {0: 1.0}))
    assert (after_it, second.labels) == (2, ({1: 1.0}, {0: 1.0}))
    agreed = tokens_of_run(0, (1, 0), [(1, 0)], [0.5, 0.5])
    assert [next_token_counts(fork) for fork in agreed] == [({1: 1.0},), ({0: 1.0},)]


def test_a_teacher_that_looks_at_its_own_text_instead_of_the_answers_would_be_found_out():
    """The enumeration can fail: a text that goes on behind its own wrong token is no draw at the student's prefix."""
    answer = (0, 1, 1, 0)
    law: dict[Tokens, float] = defaultdict(float)
    for text, probability in written((), TIME):  # one text, never begun again
        law[text] += probability
    product = {
        said: math.prod(after(TEACHER, answer[:u])[token] for u, token in enumerate(said)) for said in TEXTS
    }
    assert max(abs(law[said] - product[said]) for said in TEXTS) > 0.02
