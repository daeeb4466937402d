"""A TRL trainer whose checkpoints appear whole or not at all, whatever kills it (checkpoints.py), and which goes on
from one with the prompts that came next (resumable_sampler.py)."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer
from trl.trainer.utils import RepeatSampler

from omniopd.training.trl import checkpoints
from omniopd.training.trl.resumable_sampler import ResumableSampler


class AtomicCheckpointMixin:
    """Goes before a TRL trainer among a class's bases. Keeps `keep_checkpoints` valid ones, or as many as its arguments
    say (2 at least)."""

    args: Any
    state: Any
    accelerator: Any
    keep_checkpoints: int = 0
    _staging: Path | None = None

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        made = super()._get_train_sampler(dataset)  # type: ignore[misc]
        if not isinstance(made, RepeatSampler):
            return made
        return ResumableSampler(made, lambda: self.state.global_step, self.args.gradient_accumulation_steps)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging else str(super()._get_output_dir(trial))  # type: ignore[misc]

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """The trainer's checkpoint, written beside its place and moved there."""
        folder, step = Path(self.args.output_dir), self.state.global_step
        final, main = checkpoints.checkpoint_path(folder, step), self.accelerator.is_main_process
        with checkpoints.staged(final) if main else nullcontext(checkpoints.staging_path(final)) as self._staging:
            try:
                self.accelerator.wait_for_everyone()
                Trainer._save_checkpoint(self, model, trial)  # TRL's own adds a model card
                self.accelerator.wait_for_everyone()
                if main:
                    written = self._staging / f"checkpoint-{step}"
                    for path in written.iterdir():
                        path.rename(self._staging / path.name)
                    written.rmdir()
            finally:
                self._staging = None
        if main:
            checkpoints.rotate(folder, self.keep_checkpoints or getattr(self.args, "keep_checkpoints", 0))
        self.accelerator.wait_for_everyone()
