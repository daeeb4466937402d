"""A row's draws are the same in any number of processes: those that `generate` makes for it in one."""

import pytest
import torch

from omniopd.training.trl.rows_of_a_batch import RowsOfABatch

ROWS, VOCABULARY = 6, 40


def drawn(probabilities, first=None):
    torch.manual_seed(3)
    if first is None:
        return [torch.multinomial(probabilities, 1) for _ in range(5)]
    with RowsOfABatch(first, ROWS):
        return [torch.multinomial(probabilities, num_samples=1) for _ in range(5)]


def test_rows_drawn_apart_are_those_of_the_batch():
    probabilities = torch.rand(ROWS, VOCABULARY, generator=torch.Generator().manual_seed(0)).softmax(-1)
    whole = drawn(probabilities)
    for first, count in ((0, 2), (2, 3), (5, 1)):
        apart = drawn(probabilities[first : first + count], first)
        assert [t.tolist() for t in apart] == [t[first : first + count].tolist() for t in whole]


def test_what_is_not_a_draw_passes_and_several_draws_of_a_row_are_refused():
    probabilities = torch.full((2, VOCABULARY), 1 / VOCABULARY)
    with RowsOfABatch(0, ROWS):
        assert float(probabilities.sum()) == pytest.approx(2)
        with pytest.raises(NotImplementedError, match="2 draws of a row"):
            torch.multinomial(probabilities, 2)
