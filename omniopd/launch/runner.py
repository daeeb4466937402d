"""The process that executes a launched notebook: `python -m omniopd.launch.runner FOLDER`.

It waits for the device, has papermill execute the notebook in a kernel of its own, passes signals on to that kernel,
and writes the run's status wherever the training does not do so itself: while queued, while starting, and at the end,
whatever that end was. SIGINT: end after the step, at once outside a training. SIGTERM, or a second SIGINT: at once.

papermill works in a thread, so that this file's own thread is free to hear signals. It exits with 0, with 130 where it
was interrupted, 137 where the kernel was killed, and 1 where a cell failed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from omniopd.errors import OmniOPDError, RunError
from omniopd.io.locks import lock, sign
from omniopd.io.terminal import plain_output
from omniopd.launch.devices import own_card
from omniopd.launch.folder import (
    KILL,
    Launch,
    Process,
    lock_of,
    read_launch,
    source_of,
    wanted,
    write_process,
)  # fmt: skip
from omniopd.launch.portable import places_of
from omniopd.launch.queue import ordinal, turn
from omniopd.runs.files.claims import held_words
from omniopd.runs.status import Status, changed, first_status, read_status, start_of, write_status
from omniopd.runs.store import STATUS

if TYPE_CHECKING:
    from omniopd.launch.engine import Control

FINISHED, FAILED, INTERRUPTED, KILLED = 0, 1, 130, 137
# A training takes the first interrupt for a wish to end after its step; elsewhere a second one would only cut the
# traceback of the first short.
_AGAIN_IN_TRAINING_S, _AGAIN_S = 1.0, 15.0


class Left(Exception):
    """Asked to end while waiting for the device."""


def main(folder: str, inherited: str = "") -> int:
    """Execute what was launched into a folder; returns the exit code, which `launch/process.json` keeps as well.

    `inherited` is the number of the open lock file that the starting process passed on.
    """
    path = Path(folder)
    held = os.fdopen(int(inherited), "rb+", buffering=0) if inherited else lock(lock_of(path))
    if held is None:
        print(held_words(path), file=sys.stderr)
        return FAILED
    with held:
        sign(held)  # whose it is from now on
        os.set_inheritable(held.fileno(), False)  # the kernel is not a holder
        return _Runner(path, read_launch(path)).run()


class _Runner:
    def __init__(self, path: Path, launch: Launch) -> None:
        self.path, self.launch = path, launch
        self.process = _this_process()
        self.stop_level = 0  # 1: end after the step; 2: at once
        self.interrupted_at = 0.0  # when the kernel was last interrupted
        self.control: Control | None = None
        self.error: BaseException | None = None

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        write_process(self.path, self.process)
        self._status("running", "starting")
        try:
            with turn(own_card(self.launch.device), self._waiting):
                self._status("running", "starting")
                code = self._execute()
        except Left:
            self._status("interrupted", "left the queue")
            code = INTERRUPTED
        except Exception as error:
            traceback.print_exc()
            known = isinstance(error, OmniOPDError)
            self._status("failed", str(error) if known else _sentence(f"{type(error).__name__}: {error}"))
            code = FAILED
        self.process = replace(self.process, exit_code=code, ended=time.time())
        write_process(self.path, self.process)
        return code

    def _execute(self) -> int:
        # jsonschema would build a grammar of Unicode addresses for seconds when nbformat imports it; nobody needs that.
        sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
        from omniopd.launch.engine import Control

        self.process = replace(self.process, began=time.time())
        self.control = Control(self._on_change)
        if self.stop_level:
            self._interrupt_kernel()
        thread = threading.Thread(target=self._in_thread, args=(self.control,), name="papermill")
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
            if self.stop_level > 1 and time.monotonic() - self.interrupted_at > self._patience():
                self._interrupt_kernel()
        return self._end(self.control)

    def _in_thread(self, control: Control) -> None:
        from omniopd.launch.engine import execute

        output = self.path / self.launch.notebook
        try:
            execute(source_of(self.path), output, self.launch.parameters, control, places_of(".", self.path))
        except BaseException as error:
            self.error = error

    def _end(self, control: Control) -> int:
        """Say how it ended: what the training said of itself counts, unless it could not say anything any more."""
        error = self.error
        if error is None:
            self._status_unless("finished", "", ("finished", "failed", "interrupted"))
            return FINISHED
        print(error, file=sys.stderr)
        at = f"cell {self.process.cell}" if self.process.cell else "the start"
        where = f"in {at}" if self.process.cell else "at its start"
        death = control.kernel.poll() if control.kernel is not None else None
        if type(error).__name__ == "PapermillExecutionError":
            name, value = error.ename, error.evalue  # type: ignore[attr-defined]
            if name == "KeyboardInterrupt":
                self._status_unless("interrupted", "", ("interrupted",))
                return INTERRUPTED
            self._status_unless("failed", _sentence(f"{at}: {name}: {value}"), ("failed",))
            return FAILED
        if type(error).__name__ == "Interrupted":
            self._status_unless("interrupted", "", ("interrupted",))
            return INTERRUPTED
        if type(error).__name__ == "DeadKernelError" or death not in (None, 0):
            if wanted(self.path) == KILL:
                self._status("interrupted", f"killed {where}")
            else:
                self._status("failed", f"the kernel died {where}{_cause(death)}")
            return KILLED
        self._status("failed", _sentence(f"{at}: {type(error).__name__}: {error}"))
        return FAILED

    def _waiting(self, place: int) -> None:
        if self.stop_level:
            raise Left
        message = f"queued ({ordinal(place)}) for {own_card(self.launch.device)}"
        if self._read().message != message:
            self._status("queued", message)

    def _on_change(self, kernel_pid: int, cell: int, cells: int) -> None:
        if kernel_pid != self.process.kernel_pid:
            self.process = replace(self.process, kernel_pid=kernel_pid, kernel_started=start_of(kernel_pid))
        self.process = replace(self.process, cell=cell, cells=cells)
        write_process(self.path, self.process)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop_level = 2 if number == signal.SIGTERM or self.stop_level else 1
        self._interrupt_kernel()

    def _patience(self) -> float:
        status = self._read()
        # The kernel has said so, or one of the processes that it started.
        in_training = status.state == "running" and status.pid != os.getpid()
        return _AGAIN_IN_TRAINING_S if in_training else _AGAIN_S

    def _interrupt_kernel(self) -> None:
        self.interrupted_at = time.monotonic()
        if self.control is not None:
            self.control.interrupt()

    def _read(self) -> Status:
        try:
            return read_status(self.path / STATUS)
        except RunError:
            return first_status(0)

    def _status(self, state: str, message: str) -> None:
        # On a full disk the notebook's own error says what happened.
        with suppress(RunError):
            write_status(self.path / STATUS, changed(self._read(), state=state, message=message))

    def _status_unless(self, state: str, message: str, unless: tuple[str, ...]) -> None:
        """Write a status unless the training wrote one of the states in `unless` itself, with its own words."""
        if self._read().state not in unless:
            self._status(state, message)


def _this_process() -> Process:
    return Process(pid=os.getpid(), pid_started=start_of(os.getpid()))


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return "" if code is None else f" (exit code {code})"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = ": killed by somebody, or by the system for want of memory" if -code == signal.SIGKILL else ""
    return f" ({name}{hint})"


def _sentence(text: str) -> str:
    first = text.strip().splitlines()[0] if text.strip() else ""
    return first if len(first) <= 300 else f"{first[:297]}…"


if __name__ == "__main__":
    with plain_output():
        code = main(*sys.argv[1:])
    sys.exit(code)
