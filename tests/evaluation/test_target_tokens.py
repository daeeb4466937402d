"""The target bench for equal teacher tokens: pulls against autograd, prices counted by hand, angles that are known."""

import math

import numpy as np
import pytest
import torch

from benchmarks.target_figures import labelling, pulls
from benchmarks.target_figures.angles import Gram, cosine, interval
from benchmarks.target_figures.labelling import Drawn, Labelled, Price
from benchmarks.target_figures.pulls import View
from omniopd.method.posterior import posterior_label_weights
from omniopd.types import Prompt, Rollout

VOCAB = 5


def answer(ids, entropies=None, prompt=3):
    return Rollout(
        Prompt("p", ()), torch.arange(prompt), torch.tensor(ids), torch.full((len(ids),), -1.0),
        torch.tensor(entropies or [1.0] * len(ids)), tuple("x" * len(ids)),
    )  # fmt: skip


def drawn(answers, labels):
    row = torch.cat([torch.full((len(r),), i) for i, r in enumerate(answers)])
    place = torch.cat([torch.arange(len(r)) for r in answers])
    spread = torch.zeros(len(row))
    return Drawn(answers, row, place, torch.cat([r.token_ids for r in answers]), torch.tensor(labels), spread)


def view(tokens=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(tokens, VOCAB, generator=draw, requires_grad=True)
    teacher = torch.randn(tokens, VOCAB, generator=draw).log_softmax(-1)
    row, place = torch.tensor([0, 0, 0, 1, 1, 1][:tokens]), torch.tensor([0, 1, 2, 0, 1, 2][:tokens])
    ids = torch.randint(VOCAB, (tokens,), generator=draw)
    return logits, View(logits.detach().log_softmax(-1), teacher, row, place, ids)


def test_pulls_are_the_gradients_of_the_losses_that_they_stand_for():
    logits, seen = view()
    log_p = logits.log_softmax(-1)
    counts = torch.randint(0, 3, (6, VOCAB), generator=torch.Generator().manual_seed(5)).float()
    counts[:, 0] += 1
    asked = Labelled(counts, Price())
    share = counts / counts.sum(-1, keepdim=True)
    weights = posterior_label_weights(counts, seen.student, 0.3)
    own = log_p[torch.arange(6), seen.ids]
    agreed = share[torch.arange(6), seen.ids]
    losses = {
        pulls.reverse_kl(seen): (log_p.exp() * (log_p - seen.teacher)).sum(),
        pulls.forward_kl(seen): (seen.teacher.exp() * (seen.teacher - log_p)).sum(),
        pulls.labels(seen, asked): -(share * log_p).sum(),
        pulls.posterior_kl(seen, asked, 0.3): -(weights * log_p).sum(),
        pulls.analytic_expectation(seen, asked): -(log_p.exp() * share).sum(),
        pulls.analytic_baseline(seen, asked): -((agreed - (log_p.exp() * share).sum(-1)).detach() * own).sum(),
    }
    for pull, loss in losses.items():
        [expected] = torch.autograd.grad(loss, logits, retain_graph=True)
        torch.testing.assert_close(pull, expected, rtol=1e-4, atol=1e-6)


def test_the_analytic_expectation_is_that_of_the_analytic_baseline_over_the_students_token():
    _, seen = view(1)
    asked = Labelled(torch.tensor([[0.0, 2, 1, 0, 1]]), Price())
    expected = torch.zeros(1, VOCAB)
    for token in range(VOCAB):
        there = View(seen.student, seen.teacher, seen.row, seen.place, torch.tensor([token]))
        expected += seen.probabilities[0, token] * pulls.analytic_baseline(there, asked)
    torch.testing.assert_close(pulls.analytic_expectation(seen, asked), expected)


def test_future_credit_is_the_discounted_cost_to_come_less_that_of_the_other_answers():
    row, place = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 1, 2, 0, 1])
    cost = torch.tensor([9.0, 2.0, 4.0, 7.0, 1.0])
    # to come, discount .5: 2/2 + 4/4 = 2, 4/2 = 2, 0 · 1/2 = .5, 0
    found = pulls.future(cost, row, place, 0.5)
    assert found.tolist() == pytest.approx([1.5, 2.0, 0.0, -1.5, -2.0])


def test_a_scan_is_paid_for_as_texts_that_stop_at_each_difference():
    asked = labelling.scan(drawn([answer([1, 2, 3, 4])], [[1], [0], [3], [4]]), VOCAB)
    assert asked.price == Price(read=5, cached=3, written=4, calls=2)  # prompt 3; 3 + 2, of which 3 were read before
    assert asked.counts.sum(-1).tolist() == [1, 1, 1, 1]
    assert asked.counts.argmax(-1).tolist() == [1, 0, 3, 4]
    last = labelling.scan(drawn([answer([1, 2])], [[1], [0]]), VOCAB)  # the difference is the last token: nothing left
    assert last.price == Price(read=3, written=2, calls=1)


def test_forks_and_a_few_texts_are_paid_for_by_start():
    one = drawn([answer([1, 2, 3, 4], [0.1, 3.0, 0.2, 2.0])], [[1, 1], [2, 0], [3, 3], [0, 4]])
    forks = labelling.forks(one, VOCAB, count=2, samples=2)
    assert forks.price == Price(read=4 + 2, cached=4, written=4, calls=2)
    assert forks.samples.tolist() == [0, 2, 0, 2]
    texts = labelling.starts(one, VOCAB, count=2, apart=2)
    assert texts.samples.tolist() == [0, 1, 1, 1]  # from 1 on, until the next start, and 3
    assert texts.price == Price(read=6, cached=4, written=3, calls=2)


def test_a_second_stage_asks_again_where_the_first_draws_differ():
    one = drawn([answer([1, 2, 3])], [[1, 1, 1, 1], [2, 0, 2, 2], [3, 3, 3, 3]])
    asked = labelling.second_stage(one, VOCAB, samples=2, more=2, places=2, by=labelling.disagreement)
    assert asked.samples.tolist() == [2, 4, 2]
    scans = labelling.scan(one, VOCAB, samples=2).price
    assert asked.price == scans + Price(cached=4, written=2, calls=1)


def test_disagreement_is_unbiased():
    """Over all pairs of draws: the mean is 1 − Σ p²."""
    p = torch.tensor([0.5, 0.3, 0.2])
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    one = drawn([answer([0] * 9)], pairs.tolist())
    told = labelling.disagreement(one, torch.arange(9), 2)
    assert float((p[pairs].prod(1) * told).sum()) == pytest.approx(1 - float((p**2).sum()))


def test_the_cosine_of_any_number_of_batches_is_told_by_a_few():
    draw = np.random.default_rng(0)
    truth = draw.standard_normal(4000)
    noisy = {
        "ours": [torch.tensor(truth + 3 * draw.standard_normal(4000)) for _ in range(12)],
        "true": [torch.tensor(truth + 0.5 * draw.standard_normal(4000)) for _ in range(12)],
    }
    products = Gram.of(noisy).products({"ours": 1}, {"true": 1})
    assert cosine(products) == pytest.approx(1, abs=0.03)
    assert cosine(products, 1) == pytest.approx(1 / math.sqrt(10), abs=0.02)
    assert cosine(products, 9) == pytest.approx(1 / math.sqrt(2), abs=0.03)
    found = interval(lambda change: cosine(change(products), 9), 12)
    assert found.low < 1 / math.sqrt(2) < found.high
    assert found.high - found.low < 0.1


def test_a_mixture_is_the_sum_of_its_gradients():
    parts = {"a": [torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])], "b": [torch.tensor([0.0, 1.0])] * 2}
    products = Gram.of(parts).products({"a": 1, "b": 2}, {"a": 1})
    assert products.own.tolist() == [[5.0, 5.0], [5.0, 5.0]]
    assert products.cross.tolist() == [[1.0, 1.0], [1.0, 1.0]]
