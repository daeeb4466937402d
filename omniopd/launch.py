"""A notebook's run in a process of its own: start it by papermill, watch its records, stop it so that it can go on.

papermill reads the notebook and writes the executed copy into the run's folder, never onto its own input. The truth of
the run is in its records: this file and whoever calls it only read them. Run as a program, it is that process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import omniopd
from omniopd.errors import ConfigError, Refused
from omniopd.progress import Progress
from omniopd.records import EvalRecord, StepRecord
from omniopd.runs.following import Follower
from omniopd.runs.manifest import is_secret
from omniopd.runs.store import Run

LOG = "notebook.log"
PAUSE_S = 0.5
_KERNEL = "python3"


@dataclass(slots=True)
class Launched:
    """A notebook that is being executed for a run. `notebook` is the executed copy; `log` what the process said."""

    run: Run
    notebook: Path
    log: Path
    process: subprocess.Popen[bytes]

    def is_running(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """Ask the training to end after its step, with a checkpoint; where none is going on, end the process."""
        status = self.run.status
        if self.run.state == "running" and status.pid not in (os.getpid(), self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(status.pid, signal.SIGINT)
        else:
            self.process.terminate()

    def kill(self) -> None:
        """End everything at once. The run goes on from its last checkpoint."""
        status = self.run.status
        if self.run.state == "running" and status.pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(status.pid, signal.SIGTERM)
        self.process.terminate()


def launch(notebook: Path, run: Run, parameters: Mapping[str, Any]) -> Launched:
    """Execute a notebook for a run in a session of its own, so that a terminal's Ctrl-C reaches only the caller.

    Raises Refused for parameters that look like secrets (an executed notebook is a file to show), ConfigError where the
    copy would fall onto the notebook itself.
    """
    output = run.path / notebook.name
    if output.resolve() == notebook.resolve():
        raise ConfigError(f"{notebook} stands in the run's own folder: execute the original, not the executed copy")
    for name, value in parameters.items():
        if is_secret(name, value):
            raise Refused(f"parameter {name!r} looks like a secret, and an executed notebook keeps its parameters: "
                          "put it into the environment instead")  # fmt: skip
    log = run.path / LOG
    words = [sys.executable, "-m", "omniopd.launch", str(notebook), str(output), json.dumps(dict(parameters))]
    with open(log, "ab") as file:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, env=_environment()
        )
    return Launched(run, output, log, process)


def watch(launched: Launched, progress: Progress) -> int:
    """Show the run's records as they come, until the process is over; returns its exit code.

    The first Ctrl-C (or SIGTERM, or a closed terminal) stops the run after its step, the second at once;
    KeyboardInterrupt is raised when it has ended.
    """
    with _signals_as_interrupts():
        return _watch(launched, progress)


def _watch(launched: Launched, progress: Progress) -> int:
    follower, interrupted = Follower(launched.run), 0
    while True:
        try:
            running = launched.is_running()
            update = follower.look()
            records: list[StepRecord | EvalRecord] = [*update.steps, *update.evals]
            for record in records:
                progress.show(record)
            if update.status is not None and update.status.message and update.state == "running":
                progress.doing(update.status.message)
            if not running:
                break
            time.sleep(PAUSE_S)
        except KeyboardInterrupt:
            interrupted += 1
            if interrupted == 1:
                print("\nStopping after this step, with a checkpoint; once more: at once.", file=sys.stderr, flush=True)
                launched.stop()
            else:
                launched.kill()
    state = launched.run.state
    if state == "running":  # its process never took the run over
        state = launched.run.set_status(state="interrupted" if interrupted else "failed").state
    progress.close(state)
    if interrupted:
        raise KeyboardInterrupt
    return launched.process.returncode


def notebook_path(name: str) -> Path:
    """A shipped notebook: in the package where it is installed, else in the checkout. Raises ConfigError."""
    package = Path(omniopd.__file__).parent
    for folder in (package / "_notebooks", package.parent / "notebooks"):
        path = folder / f"{name}.ipynb"
        if path.is_file():
            return path
    raise ConfigError(
        f"there is no notebook {name!r} in this installation: install omniopd anew, or run from a checkout"
    )


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """The launched process has a session of its own: what ends this one must be passed on."""
    numbers = [
        number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
    ]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _environment() -> dict[str, str]:
    """This environment, in which the kernel finds this very package."""
    path = [str(Path(omniopd.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path), "JUPYTER_PREFER_ENV_PATH": "1"}


def _execute(notebook: str, output: str, parameters: str) -> int:
    import papermill

    try:
        papermill.execute_notebook(
            notebook, output, parameters=json.loads(parameters), kernel_name=_KERNEL, progress_bar=False
        )
    except papermill.PapermillExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_execute(*sys.argv[1:4]))
