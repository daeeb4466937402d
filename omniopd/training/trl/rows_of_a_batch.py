"""Tokens that one process of several draws for its rows: those that a single process draws for them.

`generate` draws by `torch.multinomial`, from the global generator and for all rows of a batch at once: what a row gets
hangs on its place among them. Here each process makes the random numbers of the whole batch and takes those of its own
rows, so that draws are counted by row, in as many processes as there may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class RowsOfABatch(TorchFunctionMode):
    """Inside, `torch.multinomial` of one draw each draws for rows `first`, `first` + 1, … of `rows`."""

    def __init__(self, first: int, rows: int) -> None:
        super().__init__()
        self.first, self.rows = first, rows

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.multinomial:
            return self._drawn(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _drawn(self, probabilities: Tensor, num_samples: int) -> Tensor:
        if num_samples != 1:
            raise NotImplementedError(f"{num_samples} draws of a row at once, where `generate` takes one")
        # As torch draws one: the largest p / q, each q of an exponential distribution.
        q = probabilities.new_empty(self.rows, probabilities.shape[-1]).exponential_()
        own = q[self.first : self.first + len(probabilities)]
        return (probabilities / own).argmax(-1, keepdim=True)
