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

    def interrupt(self) -> None:
        """Have the calling thread raise KeyboardInterrupt, which it cannot be sent while it waits for work."""

        def stop() -> None:
            raise KeyboardInterrupt

        self._jobs.put(stop)

    def work_until(self, over: Future[Any]) -> None:
        over.add_done_callback(lambda _: self._jobs.put(None))
        while (job := self._jobs.get()) is not None:
            job()


def run(main: Callable[[CallerThreadQueue], Coroutine[Any, Any, T]]) -> T:
    """What the coroutine `main(caller)` returns. An interrupt (Ctrl-C) cancels it and waits until it has ended."""
    caller, ended = CallerThreadQueue(), threading.Event()

    async def whole() -> T:
        try:
            return await main(caller)
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(whole(), the_loop())
    _WAITING[threading.get_ident()] = caller
    try:
        caller.work_until(future)
        return future.result()
    except BaseException:
        if not future.done():
            future.cancel()
            ended.wait(10)
        raise
    finally:
        _WAITING.pop(threading.get_ident(), None)


def interrupt(thread: int) -> bool:
    """Ctrl-C for a thread that waits in `run`, by its ident; whether it does."""
    waiting = _WAITING.get(thread)
    if waiting is not None:
        waiting.interrupt()
    return waiting is not None


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
