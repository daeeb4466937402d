"""An executor that runs some work at once, in the thread that submits it, and closes coroutines that are not awaited.

litellm has a thread build every request and waits for it. With many calls in flight those threads and the loop's fight
for the interpreter, which costs more time than the building does. Other work goes to threads as ever.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class InlineExecutor(ThreadPoolExecutor):
    """Runs a `functools.partial` (litellm's way to hand in a call) at once where the call in progress allows it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        call = _CALL.get()
        if call is None or not isinstance(fn, functools.partial):
            return super().submit(fn, *args, **options)
        future = _done_at_once(fn, *args, **options) if call.at_once else super().submit(fn, *args, **options)
        future.add_done_callback(call.keep)
        return future


class _Call:
    """One call: whether its request is built at once, and the requests that were built for it."""

    def __init__(self, at_once: bool) -> None:
        self.at_once, self.over = at_once, False
        self.built: list[Coroutine[Any, Any, Any]] = []

    def keep(self, future: Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        if inspect.iscoroutine(request := future.result()):
            self.built.append(request)
            if self.over:
                self.close()  # a thread was still building when the call was given up

    def close(self) -> None:
        self.over = True
        for request in self.built:
            if inspect.getcoroutinestate(request) == inspect.CORO_CREATED:
                request.close()


_CALL: ContextVar[_Call | None] = ContextVar("omniopd_call", default=None)


@contextmanager
def building(at_once: bool) -> Iterator[None]:
    """Inside, one call of litellm's. `at_once`: its building reads no disk and no network.

    A call that is cancelled after its request was built and before it is sent leaves a coroutine that is never
    awaited; it is closed here.
    """
    call = _Call(at_once)
    token = _CALL.set(call)
    try:
        yield
    finally:
        _CALL.reset(token)
        call.close()


def _done_at_once(fn: Callable[..., Any], *args: Any, **options: Any) -> Future[Any]:
    done: Future[Any] = Future()
    try:
        done.set_result(fn(*args, **options))
    except Exception as error:
        done.set_exception(error)
    return done
