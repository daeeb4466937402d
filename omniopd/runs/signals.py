"""How a run ends, and what its status then says.

Ctrl-C and SIGTERM: the first one lets the step in progress end and be saved, the second one stops at once.
Outside the training loop (an evaluation, loading) the first one stops at once too: nothing there is worth waiting for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from omniopd.errors import OmniOPDError, RunError
from omniopd.io.interrupts import handled
from omniopd.io.texts import whole
from omniopd.runs.store import Run

if TYPE_CHECKING:
    from omniopd.runs.progress import Progress


class Stopper(TrainerCallback):
    """As a trainer's callback it ends training after the step in which a signal came, with a checkpoint."""

    def __init__(self) -> None:
        self.wanted = False
        self._patient = False

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
        if not self._patient or self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        print("\nStopping after this step, with a checkpoint; once more: at once.", file=sys.stderr, flush=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.wanted:
            control.should_save = True
            control.should_training_stop = True


@contextmanager
def status_kept(run: Run, progress: Progress | None) -> Iterator[None]:
    """However a run ends, its status says how; an error goes on to the caller."""
    state, message = "finished", ""
    try:
        yield
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    except BaseException as error:
        state = "failed"
        message = str(error) if isinstance(error, OmniOPDError) else f"{type(error).__name__}: {error}"
        raise
    finally:
        # On a full disk the status stays as it was; the error says what happened.
        with suppress(RunError):
            run.set_status(state=state, message=whole(message))
        if progress:
            progress.close(state)
