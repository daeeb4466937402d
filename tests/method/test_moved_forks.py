"""Which forks of a text came and went between two students."""

from __future__ import annotations

import pytest

from omniopd.method.forks import FORK_NATS, moved_forks


def test_a_fork_is_kept_vanished_or_appeared_and_a_small_change_around_the_threshold_is_neither() -> None:
    before = (1.0, 1.0, 0.1, 0.1, 0.51, 0.49, 0.0)
    after = (0.9, 0.1, 1.0, 0.1, 0.49, 0.51, 0.0)
    moved = moved_forks(before, after, 0.5)
    assert (moved.kept, moved.vanished, moved.appeared) == ((0, 4, 5), (1,), (2,))


def test_the_other_way_round_what_vanished_appeared() -> None:
    before, after = (0.7, 0.0, 0.6, 0.2), (0.0, 0.8, 0.3, 0.2)
    there, back = moved_forks(before, after), moved_forks(after, before)
    assert (there.kept, there.vanished, there.appeared) == (back.kept, back.appeared, back.vanished)


def test_half_of_the_threshold_is_not_less_than_half() -> None:
    assert moved_forks((FORK_NATS,), (FORK_NATS / 2,)).kept == (0,)
    assert moved_forks((FORK_NATS,), (0.99 * FORK_NATS / 2,)).vanished == (0,)


def test_two_readings_of_different_lengths_are_no_pair() -> None:
    with pytest.raises(ValueError, match="shorter"):
        moved_forks((1.0,), ())


def test_what_is_missing_is_no_fork() -> None:
    nothing = float("nan")
    for before, after in ((nothing, 2.0), (2.0, nothing), (nothing, 0.0), (nothing, nothing)):
        moved = moved_forks((before,), (after,))
        assert (moved.kept, moved.vanished, moved.appeared) == ((), (), ())
