"""Taking signals over for a while; ending what another thread does, or with the process that started this one."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handled(handler: Callable[[int, FrameType | None], object], *names: str) -> Iterator[None]:
    """Inside, `handler` gets the signals of these names that the system has; a no-op outside the main thread, where
    Python delivers none. `signal.default_int_handler` raises KeyboardInterrupt."""
    numbers: list[signal.Signals] = [number for name in names if (number := getattr(signal, name, None)) is not None]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def end_with_parent(parent: int | None = None, look_s: float = 1.0) -> None:
    """From now on this process gets SIGTERM soon after the one that started it has ended, however that one ended.

    `parent` is that one's number, where it was told: it may have ended before this line.
    """
    started_by = os.getppid() if parent is None else parent

    def watch() -> None:
        while os.getppid() == started_by:
            time.sleep(look_s)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name=f"waits for the end of {started_by}").start()


def raise_in(thread: int, error: type[BaseException]) -> None:
    """Have a thread, by its ident, raise this at its next step of Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
