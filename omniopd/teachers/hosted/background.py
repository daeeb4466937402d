"""One event loop in a thread of its own, so that waiting for many calls works from a script, a notebook and any thread.

`asyncio.run` fails where a loop runs already, as in a notebook, and a loop per batch would open every connection anew.
What a coroutine wants done in the calling thread (callbacks) it hands over to a `CallerThreadQueue`.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from omniopd.teachers.hosted.litellm_executor import InlineExecutor

T = TypeVar("T")
_LOCK = threading.Lock()
_RUNNING: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a fork has no threads of its parent
_WAITING: dict[int, CallerThreadQueue] = {}  # by thread


class CallerThreadQueue:
    """Work that a coroutine has done in the calling thread, one after another."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._guard, self._is_over = threading.Lock(), False

    async def do(self, work: Callable[[], T]) -> T:
        """The result of `work`, which runs in the thread that called `run`; what it raises is raised here."""
        done: Future[T] = Future()
        done.set_running_or_notify_cancel()  # it runs even if this coroutine is cancelled meanwhile

        def job() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self._jobs.put(job)
        return await asyncio.wrap_future(done)

    def interrupt(self) -> bool:
        """Have the calling thread raise KeyboardInterrupt, which it cannot be sent while it waits for work; False where
        it waits no more."""

        def stop() -> None:
            raise KeyboardInterrupt

        with self._guard:
            if not self._is_over:
                self._jobs.put(stop)
            return not self._is_over

    def work_until(self, over: Future[Any]) -> None:
        over.add_done_callback(lambda _: self._jobs.put(None))
        while (job := self._jobs.get()) is not None:
            job()
        with self._guard:
            self._is_over = True
        while not self._jobs.empty():  # an interrupt that came beside the end
            if (late := self._jobs.get()) is not None:
                late()


def run(main: Callable[[CallerThreadQueue], Coroutine[Any, Any, T]]) -> T:
    """What the coroutine `main(caller)` returns. An interrupt (Ctrl-C) cancels it and waits until it has ended."""
    caller, ended = CallerThreadQueue(), threading.Event()

    async def whole() -> T:
        try:
            return await main(caller)
        finally:
            ended.set()

    future: Future[T] | None = None
    try:
        _WAITING[threading.get_ident()] = caller
        future = asyncio.run_coroutine_threadsafe(whole(), the_loop())
        caller.work_until(future)
        return future.result()
    except BaseException:
        if future is not None and not future.done():
            future.cancel()
            ended.wait(10)
        raise
    finally:
        _WAITING.pop(threading.get_ident(), None)


def interrupt(thread: int) -> bool:
    """Ctrl-C for a thread that waits in `run`, by its ident; whether it does."""
    waiting = _WAITING.get(thread)
    return waiting is not None and waiting.interrupt()


def the_loop() -> asyncio.AbstractEventLoop:
    """The loop of this process; its thread is a daemon and ends with the program."""
    with _LOCK:
        loop = _RUNNING.get(os.getpid())
        if loop is None or loop.is_closed():
            loop = asyncio.new_event_loop()
            loop.set_default_executor(InlineExecutor())
            _RUNNING[os.getpid()] = loop
            threading.Thread(target=loop.run_forever, name="omniopd-teachers", daemon=True).start()
        return loop
