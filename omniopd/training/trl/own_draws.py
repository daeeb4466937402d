"""A TRL trainer whose rollouts are draws of the student's own softmax, as far as its settings do not say otherwise, and
follow from the run's seed and the step alone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from omniopd.models.generating import own_settings_only
from omniopd.models.pieces import whole
from omniopd.models.text.chat import prompt_ids
from omniopd.training.trl.rows_of_a_batch import RowsOfABatch
from omniopd.training.trl.seeding import seed_global_generators


class OwnDraws:
    """Goes before a TRL trainer that samples, among a class's bases. TRL hands `generate` the settings that it knows
    (temperature, top-p, top-k, min-p, the repetition penalty, the length); the model's file fills in no others. vLLM is
    given all of them by TRL and reads nothing but end tokens out of that file."""

    args: Any
    state: Any
    model: Any
    model_wrapped: Any
    accelerator: Any

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        # vLLM gets the weights from TRL, piece by piece.
        with (
            nullcontext() if self.args.use_vllm else whole(self.model_wrapped),
            own_settings_only(self.accelerator.unwrap_model(self.model)),
        ):
            return super()._generate_single_turn(*args, **kwargs)  # type: ignore[misc]

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        # TRL would read special tokens out of a prompt's text.
        if prompts and isinstance(prompts[0], list) and not self.chat_template_kwargs:  # type: ignore[attr-defined]
            tokenizer = self.processing_class  # type: ignore[attr-defined]
            return [prompt_ids(tokenizer, messages) for messages in prompts], None, {}
        return super()._tokenize_prompts(prompts)  # type: ignore[misc]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        step, rank = self.state.global_step, self.accelerator.process_index
        by_row = self._draws_by_row()
        seed_global_generators("sampling", self.args.seed, step, 0 if by_row else rank)
        with self._timed("sampling"), self._rows(len(inputs)) if by_row else nullcontext():
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        self._after_sampling(output, inputs)
        # TRL shuffles the batch next, from the global generator; so does dropout.
        seed_global_generators("shuffle", self.args.seed, step, rank)
        return output

    def _draws_by_row(self) -> bool:
        """Whether each row gets the same draws in any number of processes: where `generate` samples what is learnt."""
        return self.model.training and not self.args.use_vllm

    def _rows(self, own: int) -> AbstractContextManager[Any]:
        """This process's rows of the batch, of which all processes have `own`."""
        count, rank = self.accelerator.num_processes, self.accelerator.process_index
        return nullcontext() if count == 1 else RowsOfABatch(rank * own, count * own)

    def _timed(self, phase: str) -> AbstractContextManager[None]:
        """A hook: around a phase of a step."""
        return nullcontext()

    def _after_sampling(self, output: dict[str, Any], inputs: list[dict[str, Any]]) -> None:
        """A hook: what is made of the answers, `output`, to the rows `inputs`."""
