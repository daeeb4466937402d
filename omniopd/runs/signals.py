"""How a run ends, and what its status then says.

Ctrl-C and SIGTERM: the first one lets the step in progress end and be saved, the second one stops at once.
Outside the training loop (an evaluation, loading) the first one stops at once too: nothing there is worth waiting for.
Of several processes all stop after the step in which one of them was told to; where one has fallen, none waits.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from omniopd.errors import RunError
from omniopd.io.interrupts import handled
from omniopd.io.processes import count, gathered, is_main
from omniopd.runs.beside import Others, said
from omniopd.runs.store import Run

if TYPE_CHECKING:
    from omniopd.runs.progress import Progress


_ONE_SIGNAL_S = 0.3  # a terminal sends Ctrl-C to every process, and the launcher of several sends it on


class Stopper(TrainerCallback):
    """As a trainer's callback it ends training after the step in which a signal came, with a checkpoint."""

    def __init__(self, others: Others | None = None) -> None:
        self.wanted = False
        self._patient = False
        self._others = others
        self._since = 0.0

    def listening(self) -> AbstractContextManager[None]:
        """Take the signals over; a no-op outside the main thread, where Python delivers none."""
        return handled(self._on_signal, "SIGINT", "SIGTERM")

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """Inside, the first signal waits for the end of a step. Raises KeyboardInterrupt at the end if one came."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False
        if self.wanted:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.wanted and count() > 1 and time.monotonic() - self._since < _ONE_SIGNAL_S:
            return
        if not self._patient or self.wanted or (self._others is not None and self._others.fallen()):
            raise KeyboardInterrupt
        self.wanted, self._since = True, time.monotonic()
        if is_main():
            print("\nStopping after this step, with a checkpoint; once more: at once.", file=sys.stderr, flush=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.wanted = any(gathered([self.wanted]))
        if self.wanted:
            control.should_save = True
            control.should_training_stop = True


@contextmanager
def status_kept(run: Run, progress: Progress | None, others: Others | None = None) -> Iterator[None]:
    """However a run ends, its status says how; the error of the process that ended first goes on to the caller."""
    state, message = "finished", ""
    try:
        yield
    except BaseException as error:
        first = error if others is None else others.follow(error)
        is_interrupt = isinstance(first, KeyboardInterrupt)
        state, message = ("interrupted", "") if is_interrupt else ("failed", said(first))
        if first is not error:
            raise first from error
        raise
    finally:
        # On a full disk the status stays as it was; the error says what happened.
        with suppress(RunError):
            run.set_status(state=state, message=message)
        if progress:
            progress.close(state)
