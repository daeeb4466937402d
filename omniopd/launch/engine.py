"""How papermill executes a notebook here: in a kernel that can be stopped, saved whole after every cell.

papermill's own client ends where its kernel is killed without saying so, keeps widget states of megabytes in the
executed copy, and leaves half a file when it is killed while saving. This one differs in those places only.
Queues and statuses are `runner.py`'s.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

from omniopd.errors import ConfigError
from omniopd.launch.portable import cleaned
from omniopd.runs.files.atomic import write_text
from omniopd.teachers.access.keys import keep_allowed

KERNEL = "python3"
_START_S = 300  # seconds that a kernel may take to answer first, on a machine that computes something else
_QUIET_S = 60  # seconds that a cell's last outputs may be on their way
_SAVE_S = 5  # seconds between copies within one cell; papermill doubles them where saving is slow


class Interrupted(Exception):
    """The run was asked to end while none of its cells was being executed."""


class Control:
    """Follows and interrupts a kernel in another thread.

    `on_change(kernel_pid, cell, cells)` is called in the executing thread whenever one of them changed.
    """

    def __init__(self, on_change: Callable[[int, int, int], None]) -> None:
        self.kernel: subprocess.Popen[bytes] | None = None
        self.wanted = False
        self._on_change = on_change
        self._lock = threading.Lock()
        self._executing = self._pending = False

    def interrupt(self) -> None:
        """SIGINT to the kernel, at the earliest moment at which it is listened to."""
        with self._lock:
            self.wanted = True
            # A kernel ignores the signal until it executes something.
            self._pending = not self._executing
            if self._executing:
                self._signal()

    def started(self, kernel: subprocess.Popen[bytes], cells: int) -> None:
        self.kernel = kernel
        self._on_change(kernel.pid, 0, cells)

    def cell(self, number: int, cells: int) -> None:
        """Before a cell. Raises Interrupted where the run was asked to end."""
        if self.wanted:
            raise Interrupted
        self._on_change(self.kernel.pid if self.kernel else 0, number, cells)

    def executing(self, yes: bool) -> None:
        with self._lock:
            self._executing = yes
            if yes and self._pending:
                self._pending = False
                self._signal()

    def _signal(self) -> None:
        if self.kernel is not None and self.kernel.poll() is None:
            os.kill(self.kernel.pid, signal.SIGINT)


def execute(
    source: Path, output: Path, parameters: Mapping[str, Any], control: Control, places: Mapping[str, str]
) -> None:
    """Execute `source` with parameters, and save the copy at `output` at every change of cell.

    Raises papermill.PapermillExecutionError for a cell that failed, Interrupted, nbclient's DeadKernelError.
    """
    notebook = nbformat.read(source, as_version=4)
    papermill_engines.register("omniopd", _Engine)
    logging.getLogger("papermill").addFilter(_is_no_false_alarm)
    papermill.execute_notebook(
        notebook,  # as an object: papermill takes braces in a path for a template
        None,
        parameters=dict(parameters),
        engine_name="omniopd",
        kernel_name=KERNEL,
        language="python",  # a notebook need not say so itself
        progress_bar=False,
        start_timeout=_START_S,
        control=control,
        target=output,
        places=places,
    )


class _Engine(NBClientEngine):
    @classmethod
    def execute_notebook(
        cls, nb: Any, kernel_name: str, output_path: Any = None, control: Any = None, target: Any = None,
        places: Any = None, start_timeout: int = 60, **options: Any,
    ) -> Any:  # fmt: skip
        manager = _Manager(nb, target, places)
        manager.notebook_start()
        client = _Client(
            manager, control, kernel_name=kernel_name, startup_timeout=start_timeout, iopub_timeout=_QUIET_S,
            store_widget_state=False, timeout=None,
        )  # fmt: skip
        try:
            client.execute()
        finally:
            manager.notebook_complete()
        return manager.nb


class _Manager(NotebookExecutionManager):
    """Saves a clean copy, whole or not at all, and within a cell only where something came."""

    nb: Any

    def __init__(self, nb: Any, target: Path, places: Mapping[str, str]) -> None:
        super().__init__(nb, output_path=str(target), progress_bar=False, autosave_cell_every=_SAVE_S)
        self._target, self._places = target, places
        keep_allowed()  # keys are read in the kernel, and struck out here
        self.news = False

    def autosave_cell(self, **kwargs: Any) -> None:
        if self.news:
            super().autosave_cell(**kwargs)

    def save(self, **kwargs: Any) -> None:
        self.nb, self.news = kwargs.get("nb") or self.nb, False
        write_text(self._target, nbformat.writes(nbformat.from_dict(cleaned(self.nb, self._places))))
        self.last_save_time = self.now()


class _Client(PapermillNotebookClient):
    def __init__(self, manager: _Manager, control: Control, **options: Any) -> None:
        super().__init__(manager, **options)
        self._control = control

    def create_kernel_manager(self) -> Any:
        manager: Any = super().create_kernel_manager()
        language = str(manager.kernel_spec.language).lower()
        if language != "python":
            raise ConfigError(f"the kernel {self.kernel_name!r} speaks {language}: runs are launched in Python only")
        # A kernel of this name may have been installed by another environment.
        manager.kernel_spec.argv[0] = sys.executable
        return manager

    def start_new_kernel_client(self, **options: Any) -> Any:
        assert self.km is not None
        self._control.started(self.km.provisioner.process, len(self.nb.cells))
        return super().start_new_kernel_client(**options)

    def execute_cell(self, cell: Any, index: int, **options: Any) -> Any:
        if cell.cell_type == "code":
            self._control.cell(index + 1, len(self.nb.cells))
        try:
            return super().execute_cell(cell, index, **options)
        finally:
            self._control.executing(False)

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        # The kernel says which input it executes once it listens to signals.
        if msg["msg_type"] == "execute_input":
            self._control.executing(True)
        self.nb_man.news = True
        return super().process_message(msg, cell, cell_index)

    async def _async_check_alive(self) -> None:
        # Asked every second: what a silent cell said last must not wait for its next word.
        self.nb_man.autosave_cell()
        await super()._async_check_alive()


def _is_no_false_alarm(record: logging.LogRecord) -> bool:
    """papermill does not read `steps: int | None = 3` and warns of it; names were checked before it was started."""
    return not str(record.msg).startswith("Passed unknown parameter")
