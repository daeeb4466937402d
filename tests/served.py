"""A server that nobody here wrote: `transformers serve` on 127.0.0.1, with the embedded teacher, once per test session.

What it does with a request to /v1/completions (transformers 5.23, read in its source and measured by the tests):
one text whatever `n` says; `temperature` and `top_p` obeyed where the checkpoint's generation_config samples (the
embedded teacher's does; its top_k is 0, and a request has no say in it: unknown fields such as `top_k` are answered
422); a prompt of token ids 400; another model's name 400; special tokens in the prompt are read as such and left out of
the text; requests wait for each other, and a request's `seed` sets the generator of all.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

START_S, STOP_S = 120.0, 10.0
_RUNNING = re.compile(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")
# The server ends with whoever started it, however that ends: its standard input is a pipe that nobody writes into.
_LIFELINE = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(slots=True)
class Server:
    """A running server. `url` ends in /v1; `model` is the only name it answers to; `lines` are what it has printed."""

    model: str
    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = field(default_factory=list)
    ended: bool = False
    heard: threading.Condition = field(default_factory=threading.Condition)

    @property
    def posts(self) -> int:
        """Requests answered so far, by the server's own log, which may be a moment behind."""
        return sum('"POST /v1/completions' in line for line in self.lines)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Until `condition()` holds of what the server has printed; whether it came to that."""
        with self.heard:
            return self.heard.wait_for(condition, seconds)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve the checkpoint in `folder` on a free port; answers when the block begins, gone when it ends."""
    # Started beside the folder, so that the model's name is the folder's, and no path of this machine.
    command = [
        sys.executable, "-c", _LIFELINE, str(Path(sys.executable).with_name("transformers")), "serve", folder.name,
        "--host", "127.0.0.1", "--port", "0", "--device", "cpu", "--dtype", "float32",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=folder.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    server = Server(folder.name, process)
    listener = threading.Thread(target=_listen, args=(server,), daemon=True)
    listener.start()
    try:
        if not server.wait_for(lambda: bool(server.url) or server.ended, START_S) or server.ended:
            raise RuntimeError("transformers serve did not start:\n" + "".join(server.lines[-20:]))
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listener.join(STOP_S)
        process.stdin.close()
        process.stdout.close()


@pytest.fixture(scope="session")
def served_teacher() -> Iterator[Server]:
    """The embedded teacher behind `transformers serve`."""
    from omniopd.embedded import TEACHER

    with serving(TEACHER) as server:
        yield server


def _listen(server: Server) -> None:
    for line in server.process.stdout:
        with server.heard:
            server.lines.append(line)
            if not server.url and (found := _RUNNING.search(line)):
                server.url = f"http://127.0.0.1:{found[1]}/v1"
            server.heard.notify_all()
    with server.heard:
        server.ended = True
        server.heard.notify_all()
