"""Real processes that execute one function together, as `torchrun` starts them, forked from this one: what it has
imported they need not import again. No launcher watches over them."""

from __future__ import annotations

import faulthandler
import io
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 300


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: the signal), what it returned, what it printed."""

    code: int | None
    result: Any
    out: str
    err: str


class Forked:
    """`count` processes, each executing `work(*arguments)`; `ended()` waits for all of them."""

    def __init__(self, folder: Path, count: int, work: Callable[..., Any], *arguments: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self.folder, context = folder, multiprocessing.get_context("fork")
        self.processes = [
            context.Process(target=_child, args=(rank, count, port, folder, work, arguments)) for rank in range(count)
        ]
        for process in self.processes:
            process.start()

    def ended(self, patience_s: float = PATIENCE_S) -> list[Ended]:
        found = []
        for rank, process in enumerate(self.processes):
            process.join(patience_s)
            if process.exitcode is None:
                os.kill(process.pid, signal.SIGUSR1)  # to say where it waits
                process.join(5)
                for each in self.processes:
                    each.kill()
                raise AssertionError(f"process {rank} did not end:\n{(self.folder / f'at-{rank}').read_text()}")
            file = self.folder / f"ended-{rank}"
            result, out, err = pickle.loads(file.read_bytes()) if file.is_file() else (None, "", "")
            found.append(Ended(process.exitcode, result, out, err))
        return found


def results(folder: Path, count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What each process returned; all must end well."""
    ended = Forked(folder, count, work, *arguments).ended()
    assert [each.code for each in ended] == [0] * count, "\n".join(each.err for each in ended)
    return [each.result for each in ended]


def command(*words: str) -> int:
    """`omniopd WORDS` in this process."""
    from omniopd.cli.main import main

    return main(words)


def _child(rank: int, count: int, port: str, folder: Path, work: Callable[..., Any], arguments: tuple) -> None:
    from accelerate.state import AcceleratorState, GradientState, PartialState

    # What earlier tests left in this process is of one process.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    PartialState._reset_state()
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=port, ACCELERATE_USE_CPU="true",
    )  # fmt: skip
    faulthandler.register(signal.SIGUSR1, os.open(folder / f"at-{rank}", os.O_WRONLY | os.O_CREAT))
    out, err, result, code = io.StringIO(), io.StringIO(), None, 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            result = work(*arguments)
            code = result if work is command else 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 1
    (folder / f"ended-{rank}").write_bytes(pickle.dumps((result, out.getvalue(), err.getvalue())))
    sys.stdout.flush()
    os._exit(code)
