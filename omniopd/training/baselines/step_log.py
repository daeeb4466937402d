"""What a TRL trainer logs, as the records of a run: for the trainers that record nothing themselves."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from transformers import TrainerCallback

from omniopd.io.processes import gathered
from omniopd.records import StepRecord
from omniopd.training.recording import Recorder
from omniopd.types import Usage


class StepLog(TrainerCallback):
    """`asked` is what the teacher took before the first step; `failures` is filled by others during a step."""

    def __init__(
        self, recorder: Recorder | None, asked: Usage | None = None, failures: Counter[str] | None = None
    ) -> None:
        self._recorder, self._asked, self._since = recorder, asked or Usage(), time.perf_counter()
        self._failures = Counter[str]() if failures is None else failures

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._since = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if self._recorder is None or logs is None or "loss" not in logs:
            return
        failures = sum(gathered([self._failures]), Counter[str]())
        self._failures.clear()
        if not state.is_world_process_zero:
            return
        asked = self._asked if state.global_step == 1 else Usage()
        loss = float(logs["loss"])
        self._recorder.append(
            StepRecord(
                step=state.global_step,
                loss=loss,
                chunk_loss=loss,
                anchor_loss=0.0,
                metrics={name: value for name, value in logs.items() if isinstance(value, int | float)},
                failures=dict(failures),
                input_tokens=asked.input_tokens,
                output_tokens=asked.output_tokens,
                cost_usd=asked.cost_usd,
                cached_tokens=asked.cached_tokens,
                calls=asked.calls,
                seconds={"step": time.perf_counter() - self._since},
            )
        )
