"""In which order prompts are practised on: TRL's, as a function of the step, so that a resumed run keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from trl.trainer.utils import RepeatSampler


class ResumableSampler(RepeatSampler):
    """TRL's sampler, whose n-th pass over the data has the n-th permutation of one generator.

    Its own generator starts anew in a resumed run, which would go through its third epoch in the order of the first.
    Here the epoch follows from `step()`, the optimiser steps done; `accumulation` are the batches of one step.
    """

    def __init__(self, like: RepeatSampler, step: Callable[[], int], accumulation: int) -> None:
        super().__init__(
            like.data_source, like.mini_repeat_count, like.batch_size, like.repeat_count, like.shuffle, like.seed
        )
        self.step = step
        self.steps_of_an_epoch = max(1, self.num_samples // self.batch_size * self.repeat_count // accumulation)

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator.manual_seed(self.seed)
            for _ in range(self.step() // self.steps_of_an_epoch):
                torch.randperm(self.num_samples, generator=self.generator)
        yield from super().__iter__()
