"""How far vLLM, which drew an answer, is from the student that is trained: the same weights in other kernels, or, where
they were not handed over as they should be, other weights.

TRL logs it for GRPO alone; here it is logged under TRL's names wherever answers are scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from omniopd.io.processes import gathered
from omniopd.types import Rollout

MEAN, LARGEST = "sampling/sampling_logp_difference/mean", "sampling/sampling_logp_difference/max"


class SamplerGap:
    """Goes before a TRL trainer that distils, among a class's bases."""

    args: Any
    state: Any
    _metrics: dict[str, dict[str, list[float]]]
    # Of the answers drawn in this step: by prompt and answer, the log-probabilities that vLLM drew their tokens with.
    _drawn: dict[tuple[tuple[int, ...], tuple[int, ...]], list[float | None]]
    _drawn_in = -1

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.args.use_vllm:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)  # type: ignore[misc]
        with _told(self.vllm_generation) as told:  # type: ignore[attr-defined]
            found = super()._generate_single_turn(prompt_ids, *args, **kwargs)  # type: ignore[misc]
        if self._drawn_in != self.state.global_step:
            self._drawn_in, self._drawn = self.state.global_step, {}
        for prompt, answer, row in zip(prompt_ids, told[0], _of_the_drawn(*told), strict=True):
            self._drawn[tuple(prompt), tuple(answer)] = row
        return found

    def note_gap(self, rollouts: Sequence[Rollout]) -> None:
        """Log |log p − log q| in nats, the mean over the tokens of all processes' answers and the largest: p the
        student's, as scored here, q vLLM's. All processes call it."""
        if not self.args.use_vllm:
            return
        gaps = [
            abs(float(scored) - drawn)
            for rollout in rollouts
            for scored, drawn in zip(rollout.logprobs, self._drawn_with(rollout), strict=True)
            if drawn is not None
        ]
        everyone = gathered([(sum(gaps), len(gaps), max(gaps, default=0.0))])
        if count := sum(n for _, n, _ in everyone):
            self._metrics["train"][MEAN].append(sum(total for total, *_ in everyone) / count)
            self._metrics["train"][LARGEST].append(max(most for *_, most in everyone))

    def _drawn_with(self, rollout: Rollout) -> Sequence[float | None]:
        key = tuple(rollout.prompt_ids.tolist()), tuple(rollout.token_ids.tolist())
        return self._drawn.get(key) or [None] * len(rollout)


@contextmanager
def _told(generation: Any) -> Iterator[list[Any]]:
    """Inside, TRL's generator is asked for log-probabilities; what it returned stands in the list: tokens,
    log-probabilities and whose they are. TRL's trainer throws them away."""
    told: list[Any] = []
    generate, logprobs = generation.generate, generation.logprobs

    def listening(*args: Any, **kwargs: Any) -> Any:
        found = generate(*args, **kwargs)
        told[:] = found[1:]
        return found

    generation.generate, generation.logprobs = listening, 0
    try:
        yield told
    finally:
        del generation.generate
        generation.logprobs = logprobs


def _of_the_drawn(
    tokens: Sequence[Sequence[int]], logprobs: Sequence[Any] | None, of: Sequence[Any] | None
) -> list[list[float | None]]:
    """Those of the tokens themselves: there may be likelier ones beside them. Nothing where vLLM gave none."""
    if logprobs is None or of is None:
        return [[None] * len(row) for row in tokens]
    return [
        [values[ids.index(token)] for token, values, ids in zip(*row, strict=True)]
        for row in zip(tokens, logprobs, of, strict=True)
    ]
