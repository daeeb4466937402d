"""Polling in a daemon thread that ends with its view. Knows nothing of what it polls."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable

FASTEST_S = 0.1  # ten polls a second: more than a page can show, and what a notebook server can take
SHARE, SLOWEST_S = 4, 2.0  # after a slow poll it pauses four times as long, up to this: the kernel has other work


class Poller:
    """Calls a method every `interval_s` until it returns False, `stop` is called, or its object is gone.

    The thread keeps no object alive. An exception ends it and is handed to the object's own `failed`.
    """

    def __init__(self, act: Callable[[], bool], failed: Callable[[Exception], None], interval_s: float) -> None:
        self._act, self._failed = weakref.WeakMethod(act), weakref.WeakMethod(failed)
        self._interval = max(FASTEST_S, interval_s)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin, or begin again; does nothing if it runs already."""
        if not self.is_alive or self._over.is_set():
            self._over = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._over,), daemon=True, name="omniopd-look")
            self._thread.start()

    def stop(self) -> None:
        """End soon; returns at once."""
        self._over.set()

    def follow(self, before: int | None, shown: int | None) -> None:
        """Run while a page shows the view, as the count of pages changes; a view never shown keeps running.

        ipywidgets keeps every view alive: without this, a cell that is run again leaves a thread behind each time. A
        reloaded page counts its views twice, so those keep polling and never rest while on screen.
        """
        if shown:
            self.start()
        elif before:
            self.stop()

    def join(self, timeout_s: float = 5.0) -> None:
        """Wait until the thread has ended."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self, over: threading.Event) -> None:
        spent = 0.0
        while not over.wait(max(self._interval, min(SHARE * spent, SLOWEST_S))):
            act, failed = self._act(), self._failed()
            if act is None or failed is None:
                return
            started = time.perf_counter()
            try:
                if not act():
                    return
            except Exception as error:  # nobody above a thread would see it
                failed(error)
                return
            spent = time.perf_counter() - started
            del act, failed
