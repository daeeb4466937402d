"""Evaluation during training, for any trainer of transformers or TRL: held-out prompts every k steps, no teacher.

Keeps the best student by accuracy; `AtSteps` has any other measurement made at chosen steps. Training is as without it:
draws are seeded by themselves, and no generator, gradient or mode is touched. Knows a task and a tokenizer; where
records go the caller says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerCallback

from omniopd.errors import ConfigError
from omniopd.evaluation.best import keep_best
from omniopd.evaluation.evaluate import Progress, evaluate, problems_of
from omniopd.io.processes import is_main
from omniopd.models.pieces import whole, whole_weights
from omniopd.records import EvalRecord
from omniopd.types import Task


class EvaluationCallback(TrainerCallback):
    """Evaluate every `every` steps and after the last one; `trainer.add_callback(EvaluationCallback(…))`.

    `problems` of `split` with `samples` answers each. `on_record(record)` gets each `EvalRecord`; `best_in` is a folder
    that keeps the best student in `best/` with a note beside it (None: no student is kept). Of several processes each
    evaluates its share of the problems, and the main one keeps the student.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        every: int,
        problems: int = 100,
        temperature: float = 1.0,
        samples: int = 1,
        split: str = "test",
        seed: int = 0,
        max_tokens: int = 512,
        batch: int = 256,
        best_in: Path | None = None,
        on_record: Callable[[EvalRecord], None] | None = None,
        progress: Progress | None = None,
    ) -> None:
        if every < 1:
            raise ConfigError(f"every is {every}: evaluate every 1 step or more")
        problems_of(task, split, problems)  # what it lacks is said now, not after the first steps
        self.task, self.tokenizer, self.every = task, tokenizer, every
        self.records: list[EvalRecord] = []
        self._best_in, self._on_record = best_in, on_record
        self._settings: dict[str, Any] = {
            "limit": problems, "temperature": temperature, "samples": samples, "split": split, "seed": seed,
            "max_tokens": max_tokens, "batch": batch, "progress": progress,
        }  # fmt: skip

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        step = state.global_step
        if step % self.every == 0 or step == state.max_steps:
            self.measure(model, step, shared=True)

    def measure(self, model: Any, step: int, shared: bool = False) -> EvalRecord:
        """Evaluate `model` as it is after `step` steps, keep it if it is the best, and pass the record on. `shared`:
        every process makes this call."""
        with whole(model):
            record = evaluate(model, self.tokenizer, self.task, step=step, shared=shared, **self._settings)
            self.records.append(record)
            if self._on_record is not None:
                self._on_record(record)
            if self._best_in is not None and is_main():
                keep_best(self._best_in, record, lambda folder: self._save(model, folder))
        return record

    def _save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder, state_dict=whole_weights(model))
        self.tokenizer.save_pretrained(folder)


class AtSteps(TrainerCallback):
    """Calls `measure(model, step)` after each of `steps` optimizer steps, before a checkpoint of that step is written:
    what a checkpoint holds has been measured. Every process calls it."""

    def __init__(self, steps: Iterable[int], measure: Callable[[Any, int], None]) -> None:
        self._steps, self._measure = frozenset(steps), measure

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step in self._steps:
            with whole(model):
                self._measure(model, state.global_step)
