"""Work that takes longer than a blink, in a thread of its own: a page's messages are not kept waiting."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from omniopd.errors import OmniOPDError
from omniopd.io.interrupts import raise_in

_CALLS = "omniopd.teachers.hosted.background"  # where a thread waits for a provider, if one was ever asked


class Busy(Protocol):
    """A view that shows what is going on (`busy`), and what went wrong (`problem`)."""

    busy: str
    problem: str


class Worker:
    """Does one thing after the other and shows on `view` how it goes; what goes wrong is shown, never lost."""

    def __init__(self, view: Busy, name: str, after: Callable[[], object] = lambda: None) -> None:
        """`after` follows each piece of work, even one that failed."""
        self._view, self._after = view, after
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._working: int | None = None  # the thread's ident while it works
        self._raised = False  # whether a cancel may still be on its way into the thread
        self._guard = threading.Lock()
        self.pending: Future[None] | None = None

    def do(self, words: str, work: Callable[[], object], if_needed: Callable[[], bool] = lambda: True) -> None:
        """Have `work` done, and return at once. Where it is not needed any more when its turn comes, nothing is."""
        view = self._view

        def run() -> None:
            if not if_needed():
                return
            view.busy, view.problem = words, ""
            try:
                try:
                    self._begin()
                    work()
                finally:
                    self._end()
            except OmniOPDError as error:
                view.problem = str(error)
            except KeyboardInterrupt:
                view.problem = f"cancelled: {words.removesuffix(' …')}; what had arrived is kept"
            except Exception as error:
                view.problem = f"{type(error).__name__}: {error}"
            finally:
                view.busy = ""
                try:
                    self._after()
                except Exception as error:
                    view.problem = view.problem or f"{type(error).__name__}: {error}"

        self.pending = self._thread.submit(run)

    def cancel(self) -> None:
        """End what is going on, as Ctrl-C would end it in a script; nothing where nothing is."""
        with self._guard:
            thread = self._working
            if thread is None:
                return
            calls = sys.modules.get(_CALLS)
            if calls is None or not calls.interrupt(thread):
                self._raised = True
                raise_in(thread, KeyboardInterrupt)

    def wait(self, timeout_s: float | None = None) -> None:
        """Until the last thing asked for is done."""
        if self.pending is not None:
            self.pending.result(timeout_s)

    def close(self, *, drop: bool) -> None:
        """End the thread; what it has not begun is dropped, or still done."""
        self._thread.shutdown(wait=False, cancel_futures=drop)

    def _begin(self) -> None:
        with self._guard:
            self._working = threading.get_ident()

    def _end(self) -> None:
        """Nothing can be cancelled any more: what was, and has not arrived yet, is not for the next piece of work."""
        while True:
            try:
                with self._guard:
                    self._working = None
                    raised, self._raised = self._raised, False
                # It arrives at a jump. Taken back, it would leave Python 3.11's sign that something is on its way, and
                # a tracer (a debugger, a profiler) in any thread would wait for it for ever.
                for _ in range(100 if raised else 0):
                    pass
                return
            except KeyboardInterrupt:
                continue  # it arrived here

