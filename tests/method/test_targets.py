"""Facts about what an audit asks of the student: every target against loops, and what each control destroys."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch

from omniopd.errors import ConfigError
from omniopd.method.evidence import (
    ForkEvidence,
    ForkTarget,
    agreement_through,
    next_token_labels,
    other_rollouts_mean,
)
from omniopd.method.tensors import fork_targets

END = 2  # the end-of-turn token
C = 4


def random_batch(seed: int) -> list[ForkEvidence]:
    """A few rollouts with a few forks each; few different tokens, so that texts often share a beginning."""
    draw = random.Random(seed)
    found = []
    for rollout in range(draw.randint(1, 3)):
        for _ in range(draw.randint(0, 3)):
            texts = [
                None if draw.random() < 0.2 else tuple(draw.choices([5, 6, END], k=draw.randint(0, C)))
                for _ in range(draw.randint(1, 5))
            ]
            found.append(
                ForkEvidence(
                    rollout=rollout,
                    chunk_ids=tuple(draw.choices([5, 6], k=C)),
                    soft_count=draw.random() * len(texts),
                    samples=len(texts),
                    prior=0.1 + 0.9 * draw.random(),
                    continuation_ids=tuple(texts),
                )
            )
    return found


every_batch = pytest.mark.parametrize("batch", [random_batch(seed) for seed in range(20)], ids=range(20))


def fork(rollout=0, soft_count=5.0, samples=10, prior=0.5, chunk=(5, 6, 5, 6), texts=(), redraw=None) -> ForkEvidence:
    return ForkEvidence(rollout, tuple(chunk), soft_count, samples, prior, tuple(texts), redraw)


def weights(targets: list[ForkTarget]) -> torch.Tensor:
    return torch.stack([t.weights for t in targets])


def shared(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return length


# ── the paper's ──────────────────────────────────────────────────────────────────────────────────────────────────────


@every_batch
@pytest.mark.parametrize("concentration", [0.0, 1.0, 4.0])
def test_the_papers_weight_is_the_posterior_mean_on_every_token_of_the_chunk(batch, concentration):
    for e, target in zip(batch, fork_targets(batch, "paper", concentration=concentration), strict=True):
        trust = (e.soft_count + concentration * e.prior) / (e.samples + concentration)
        torch.testing.assert_close(target.weights, torch.full((C,), trust), rtol=1e-5, atol=1e-6)
        assert 0 <= float(target.weights.min()) <= float(target.weights.max()) <= 1 + 1e-6
        assert target.labels == ()


def test_the_papers_weights_obey_the_identity_of_batch_means():
    draw = torch.Generator().manual_seed(0)
    batch = [
        fork(i % 3, 10 * float(torch.rand((), generator=draw)), 10, float(torch.rand((), generator=draw)))
        for i in range(30)
    ]
    mean_k, mean_prior = (sum(getattr(e, name) for e in batch) / 30 for name in ("soft_count", "prior"))
    mean = float(weights(fork_targets(batch, "paper", concentration=2.0)).mean())
    assert math.isclose(mean, (mean_k + 2 * mean_prior) / 12, rel_tol=1e-5)


@pytest.mark.parametrize("target", ["paper", "centred", "prefix_credit", "labels", "posterior_kl", "none"])
def test_targets_are_detached_and_a_batch_without_forks_has_none(target):
    assert fork_targets([], target) == []
    batch = [fork(0, texts=[(5, 6, 5, 6)]), fork(1, texts=[(6, 6, 5, 6)])]
    assert not weights(fork_targets(batch, target)).requires_grad


# ── centred ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@every_batch
def test_the_baseline_is_the_mean_over_the_forks_of_other_rollouts(batch):
    if not batch:
        return
    scores = torch.tensor([[e.soft_count / e.samples, e.prior] for e in batch])
    slow = []
    for own in batch:
        others = [e for e in batch if e.rollout != own.rollout]
        shares = [e.soft_count / e.samples for e in others] or [0.0]
        priors = [e.prior for e in others] or [0.0]
        slow.append([sum(shares) / len(shares), sum(priors) / len(priors)])
    found = other_rollouts_mean(scores, [e.rollout for e in batch])
    torch.testing.assert_close(found, torch.tensor(slow), rtol=1e-5, atol=1e-6)


@every_batch
def test_centred_weights_are_the_share_above_that_baseline(batch):
    for e, target in zip(batch, fork_targets(batch, "centred"), strict=True):
        others = [o.soft_count / o.samples for o in batch if o.rollout != e.rollout]
        expected = e.soft_count / e.samples - (sum(others) / len(others) if others else 0)
        torch.testing.assert_close(target.weights, torch.full((C,), expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", ["centred", "prefix_credit"])
def test_centred_weights_sum_to_zero_where_rollouts_have_equally_many_forks(target):
    draw = torch.Generator().manual_seed(1)
    batch = [
        fork(rollout, 10 * float(torch.rand((), generator=draw)), texts=[(5, 6, 5, 5), (5, 5), (6,)][: rollout % 3 + 1])
        for rollout in range(4)
        for _ in range(5)
    ]
    centred = weights(fork_targets(batch, target))
    torch.testing.assert_close(centred.sum(0), torch.zeros(C), atol=1e-5, rtol=0)
    assert float(centred.min()) < 0 < float(centred.max())


def test_forks_of_one_rollout_are_no_baseline_for_each_other():
    alone = [fork(0, 2.0), fork(0, 8.0)]
    torch.testing.assert_close(weights(fork_targets(alone, "centred"))[:, 0], torch.tensor([0.2, 0.8]))
    [first, second, other] = weights(fork_targets([*alone, fork(1, 4.0)], "centred"))[:, 0].tolist()
    assert (round(first, 6), round(second, 6), round(other, 6)) == (-0.2, 0.4, -0.1)


def test_centred_weights_ignore_the_students_own_confidence():
    shy, sure = ([fork(0, 3.0, prior=p), fork(1, 6.0, prior=p)] for p in (0.1, 0.9))
    assert torch.equal(weights(fork_targets(shy, "centred")), weights(fork_targets(sure, "centred")))
    assert not torch.equal(weights(fork_targets(shy, "paper")), weights(fork_targets(sure, "paper")))


def test_redraws_at_the_same_fork_replace_the_baseline_there():
    batch = [fork(0, 3.0, redraw=0.25), fork(1, 6.0)]
    torch.testing.assert_close(weights(fork_targets(batch, "centred"))[:, 0], torch.tensor([0.3 - 0.25, 0.6 - 0.3]))


# ── prefix credit ────────────────────────────────────────────────────────────────────────────────────────────────────


@every_batch
def test_prefix_credit_is_the_share_of_agreement_from_here_on_centred_per_offset(batch):
    def agreement(e: ForkEvidence, through: int) -> float:
        usable = [ids for ids in e.continuation_ids if ids is not None]
        return sum(ids[: through + 1] == e.chunk_ids[: through + 1] for ids in usable) / max(1, len(usable))

    def credit(e: ForkEvidence, offset: int) -> float:
        return sum(agreement(e, v) for v in range(offset, C))

    for e, target in zip(batch, fork_targets(batch, "prefix_credit"), strict=True):
        alive = [agreement(e, v) for v in range(C)]
        torch.testing.assert_close(agreement_through(e, torch), torch.tensor(alive))
        others = [o for o in batch if o.rollout != e.rollout]
        for offset in range(C):
            baseline = sum(credit(o, offset) for o in others) / len(others) if others else 0
            assert math.isclose(float(target.weights[offset]), credit(e, offset) - baseline, abs_tol=1e-5)


@every_batch
def test_agreement_only_falls_and_ids_that_are_not_usable_do_not_count(batch):
    for e in batch:
        alive = agreement_through(e, torch)
        assert bool((alive[1:] <= alive[:-1]).all())
        usable = tuple(ids for ids in e.continuation_ids if ids is not None)
        assert torch.equal(alive, agreement_through(fork(chunk=e.chunk_ids, texts=usable), torch))


def test_a_text_that_ended_where_the_student_went_on_parts_there():
    assert agreement_through(fork(chunk=(5, 6, 5, 6), texts=[(5, 6, END), (5, 6)]), torch).tolist() == [1, 1, 0, 0]
    assert agreement_through(fork(chunk=(5, 6, END), texts=[(5, 6, END)]), torch).tolist() == [1, 1, 1]


# ── fork labels ──────────────────────────────────────────────────────────────────────────────────────────────────────


@every_batch
@pytest.mark.parametrize("depth", [1, 2, C])
def test_labels_are_the_next_token_counts_of_the_texts_that_still_agree(batch, depth):
    for e, target in zip(batch, fork_targets(batch, "labels", depth=depth), strict=True):
        assert float(target.weights.abs().sum()) == 0
        assert len(target.labels) == depth
        for offset, slots in enumerate(target.labels):
            counts = Counter()
            for ids in e.continuation_ids:
                if ids is not None and len(ids) > offset and shared(ids, e.chunk_ids) >= offset:
                    counts[ids[offset]] += 1
            assert slots == {token: n / sum(counts.values()) for token, n in counts.items()}
            assert not slots or math.isclose(sum(slots.values()), 1, rel_tol=1e-9)


def test_the_end_of_turn_is_a_label_like_any_token():
    [at_fork, second] = next_token_labels(fork(chunk=(5, 6), texts=[(5, END), (END,), (5, 6), (5, END)]), depth=2)
    assert at_fork == {END: 0.25, 5: 0.75}
    assert second == {END: 2 / 3, 6: 1 / 3}


def test_ids_that_are_not_usable_and_empty_texts_give_no_label():
    assert next_token_labels(fork(texts=[None, (6,), ()])) == ({6: 1.0},)
    assert next_token_labels(fork(texts=[None, ()])) == ({},)
    assert next_token_labels(fork(texts=())) == ({},)


def test_labels_are_never_deeper_than_the_chunk():
    assert len(next_token_labels(fork(chunk=(5,), texts=[(5, 6, 5)]), depth=3)) == 1


# ── controls ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_shuffled_keeps_the_multiset_of_soft_counts_and_moves_them():
    batch = [fork(i % 4, soft_count=float(i), prior=0.5, samples=20) for i in range(20)]
    plain = weights(fork_targets(batch, "paper"))[:, 0]
    moved = weights(fork_targets(batch, "paper", "shuffled", generator=torch.Generator().manual_seed(0)))[:, 0]
    assert sorted(plain.tolist()) == sorted(moved.tolist())
    assert plain.tolist() != moved.tolist()


def test_shuffled_leaves_each_forks_own_prior_in_place():
    priors = [0.1, 0.3, 0.5, 0.9]
    batch = [fork(i, soft_count=float(i), prior=p) for i, p in enumerate(priors)]
    moved = weights(fork_targets(batch, "paper", "shuffled", generator=torch.Generator().manual_seed(1)))[:, 0]
    counts = [round(float(w) * 11 - p, 4) for w, p in zip(moved, priors, strict=True)]
    assert sorted(counts) == [0, 1, 2, 3]


def test_shuffled_moves_labels_and_redraws_with_their_texts():
    batch = [fork(i, soft_count=float(i), texts=[(10 + i,)], redraw=i / 20) for i in range(8)]
    draw = torch.Generator().manual_seed(2)
    moved = fork_targets(batch, "labels", "shuffled", generator=draw)
    order = [next(iter(t.labels[0])) - 10 for t in moved]
    assert sorted(order) == list(range(8))
    assert order != list(range(8))
    centred = weights(fork_targets(batch, "centred", "shuffled", generator=torch.Generator().manual_seed(2)))[:, 0]
    torch.testing.assert_close(centred, torch.tensor([i / 10 - i / 20 for i in order]))


def test_the_generator_decides_the_permutation():
    batch = [fork(i, soft_count=float(i)) for i in range(9)]

    def drawn(seed: int) -> list[float]:
        return weights(fork_targets(batch, "paper", "shuffled", generator=torch.Generator().manual_seed(seed)))[
            :, 0
        ].tolist()

    assert drawn(4) == drawn(4) != drawn(5)


@pytest.mark.parametrize("target", ["paper", "centred", "prefix_credit"])
def test_constant_puts_the_mean_absolute_weight_on_every_audited_token(target):
    batch = [fork(i % 2, soft_count=float(i), texts=[(5, 6), (6,)][: i % 2 + 1]) for i in range(6)]
    mean = weights(fork_targets(batch, target)).abs().mean()
    torch.testing.assert_close(weights(fork_targets(batch, target, "constant")), mean.expand(6, C))


def test_constant_labels_are_the_students_own_tokens():
    [target] = fork_targets([fork(chunk=(5, 6, 5, 6), texts=[(6,)])], "labels", "constant", depth=2)
    assert target.labels == ({5: 1.0}, {6: 0.0})  # no text agrees beyond the first token


def test_constant_labels_weigh_as_much_as_the_labels_they_replace():
    batch = [fork(chunk=(5, 6, 5, 6), texts=[(6,)]), fork(1, chunk=(5, 6, 5, 6), texts=[(5, 6), (5, 5)])]
    real, constant = (fork_targets(batch, "labels", control, depth=2) for control in ("none", "constant"))
    for offset in (0, 1):
        mass = [sum(t.labels[offset].values()) for t in constant]
        assert sum(mass) == sum(sum(t.labels[offset].values()) for t in real)
        assert len(set(mass)) == 1


def test_prefix_credit_takes_chunks_of_any_length():
    batch = [fork(0, chunk=(5, 6), texts=[(5, 6)]), fork(1, chunk=(5, 6, 7), texts=[(5, 6, 7)]), fork(2, chunk=(5,))]
    credits = [t.weights for t in fork_targets(batch, "prefix_credit")]
    assert [len(c) for c in credits] == [2, 3, 1]
    # Offset 0: credits 2, 3, 0; each against the mean of the other two. Offset 2: nobody else has one.
    assert [float(c[0]) for c in credits] == pytest.approx([2 - 1.5, 3 - 1.0, 0 - 2.5])
    assert float(credits[1][2]) == pytest.approx(1.0)


@pytest.mark.parametrize("target", ["paper", "centred", "prefix_credit", "labels"])
def test_prior_only_is_blind_to_the_texts(target):
    silent = [fork(0, 0.0, prior=0.3), fork(1, 0.0, prior=0.6)]
    talking = [fork(0, 9.0, prior=0.3, texts=[(5, 6)], redraw=0.4), fork(1, 2.0, 5, 0.6, texts=[(6,)], redraw=0.9)]
    blind, seeing = (fork_targets(batch, target, "prior_only", depth=2) for batch in (silent, talking))
    assert torch.equal(weights(blind), weights(seeing))
    assert [t.labels for t in blind] == [t.labels for t in seeing]


def test_prior_only_weighs_with_the_students_own_confidence():
    batch = [fork(0, 9.0, prior=0.3), fork(1, 2.0, prior=0.6)]
    for concentration in (0.0, 1.0, 5.0):
        found = weights(fork_targets(batch, "paper", "prior_only", concentration))[:, 0]
        torch.testing.assert_close(found, torch.tensor([0.3, 0.6]))
    [target, _] = fork_targets(batch, "labels", "prior_only")
    assert target.labels == ({5: 0.3},)


def test_the_self_teacher_changes_who_is_asked_and_not_what_is_computed():
    batch = [fork(0, 9.0), fork(1, 2.0)]
    assert torch.equal(weights(fork_targets(batch, "paper", "self_teacher")), weights(fork_targets(batch, "paper")))


def test_unknown_names_are_answered_with_the_known_ones():
    for target, control, known in (("papers", "none", "centred"), ("paper", "shuffle", "shuffled")):
        with pytest.raises(ConfigError, match=rf"must be one of .*{known}"):
            fork_targets([fork()], target, control)


# ── posterior_kl ─────────────────────────────────────────────────────────────────────────────────────────────────────


@every_batch
@pytest.mark.parametrize("depth", [1, 3])
def test_the_counts_of_posterior_kl_are_the_labels_times_the_texts_that_still_agree(batch, depth):
    counted, labelled = (fork_targets(batch, name, depth=depth) for name in ("posterior_kl", "labels"))
    for e, counts, shares in zip(batch, counted, labelled, strict=True):
        assert float(counts.weights.abs().sum()) == 0
        for offset, (k, p) in enumerate(zip(counts.labels, shares.labels, strict=True)):
            agree = [ids for ids in e.continuation_ids if ids is not None and len(ids) > offset
                     and ids[:offset] == e.chunk_ids[:offset]]  # fmt: skip
            assert sum(k.values()) == len(agree)
            assert {token: n / len(agree) for token, n in k.items()} == pytest.approx(p)


def test_the_prior_alone_asks_nothing_of_posterior_kl():
    batch = [fork(0, texts=[(5, 6, 5, 6)]), fork(1, texts=[(6, 6, 5, 6)])]
    assert all(t.labels == () for t in fork_targets(batch, "posterior_kl", "prior_only"))
    shuffled = fork_targets(batch, "posterior_kl", "shuffled", generator=torch.Generator().manual_seed(1))
    assert sorted(str(t.labels) for t in shuffled) == sorted(str(t.labels) for t in fork_targets(batch, "posterior_kl"))
